"""The supervising process of a davfusion. Started as `python -m davfusion.processes.supervising DESCRIPTOR`.

What checks the settings and puts the state right is large, and the supervisor lives as long as the server. So the
command becomes another program once that is done: this one, which imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from typing import Self

from davfusion import logs
from davfusion.processes.supervisor import ChildSpec, Supervisor


@dataclass(frozen=True, slots=True)
class Plan:
    """What to supervise."""

    groups: tuple[tuple[ChildSpec, ...], ...]
    """As `Supervisor` takes them."""
    announcement: str
    """Printed when all children of the first group are ready."""
    ending: str
    """The handover by which the state is left in order at the end."""
    verbose: bool

    def to_line(self) -> str:
        """One line of text; holds secrets."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The reverse of `to_line`."""
        fields = json.loads(line)
        groups = tuple(tuple(ChildSpec.from_fields(spec) for spec in group) for group in fields.pop("groups"))
        return cls(groups, **fields)


def carry_out(plan: Plan) -> int:
    """Supervise until SIGTERM or SIGINT, then leave the state in order; the exit code."""
    code = Supervisor(plan.groups, ready=lambda: announce(plan.announcement)).run()
    # Late, because it is large and needed only now.
    from davfusion.processes.handover import Handover
    from davfusion.processes.opening import note_clean_stops

    ending = Handover.from_line(plan.ending)
    note_clean_stops(ending.config, ending.state)
    return code


def announce(line: str) -> None:
    """Tell on standard output that the server is ready; whether somebody still listens there is nothing to end for."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode(errors="surrogateescape"))


def main() -> int:
    """Carry out the plan that the descriptor in the arguments holds; the exit code."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        plan = Plan.from_line(file.read().decode())
    logs.set_up(verbose=plan.verbose)
    return carry_out(plan)


if __name__ == "__main__":
    sys.exit(main())
