"""A davfusion as a supervisor, one engine and several front workers."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import davfusion
from davfusion.processes.handover import Handover
from davfusion.processes.opening import bring_in_order
from davfusion.processes.protocol import HANDLED_SIGNALS
from davfusion.processes.supervising import Plan, carry_out
from davfusion.processes.supervisor import ChildSpec
from davfusion.settings import Config
from davfusion.state import StateLock

_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}
"""glibc gives threads arenas of their own, up to eight for each core, and keeps in each what was freed there. Most
allocation happens under the interpreter lock, one thread at a time."""


def run(config: Config, state: Path, sockets: Sequence[socket.socket], lock: StateLock, *,
        announcement: str, verbose: bool) -> int:
    """Run until SIGTERM or SIGINT; the exit code, if this process is still the same then.

    The children share the lock on the state directory. `announcement` is printed when the server is ready.
    """
    cores = _cores()
    fronts = tuple(
        _child(f"front-{number}", "front", lock, Handover(
            config, state, verbose, listening=listening.fileno(),
            core=cores[number % len(cores)] if cores else None))
        for number, listening in enumerate(sockets))
    plain = Handover(config, state, verbose)
    plan = Plan((fronts, (_child("engine", "engine", lock, plain),)), announcement, plain.to_line(), verbose)
    bring_in_order(config, state)
    return _supervise(plan, [lock.fileno(), *(listening.fileno() for listening in sockets)])


def _child(name: str, module: str, lock: StateLock, handover: Handover) -> ChildSpec:
    sockets = () if handover.listening is None else (handover.listening,)
    return ChildSpec(
        name=name, argv=_command_for(module), handover=handover.to_line(),
        inherited=(lock.fileno(), *sockets))


def _cores() -> list[int]:
    """The cores this process may use, where a process can be bound to one.

    A front is one interpreter: on one core its threads hand over the interpreter lock cheaply.
    """
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _command_for(module: str) -> tuple[str, ...]:
    """How one of these modules is run as a process of its own.

    It looks for modules in the current folder only where davfusion itself is found there: elsewhere a file
    `json.py` of somebody's would be taken for the standard library's.
    """
    at_home = Path(davfusion.__file__).resolve().parents[1] == Path.cwd()
    return (sys.executable, *(() if at_home else ("-P",)), "-m", f"davfusion.processes.{module}")


def _supervise(plan: Plan, descriptors: Sequence[int]) -> int:
    """Carry out a plan in this process, as a small program of its own where the system allows that.

    `descriptors` are those that the children inherit. The exit code, where it returns.
    """
    if hasattr(os, "memfd_create"):
        _become_small(plan, descriptors, {**_ENVIRONMENT, **os.environ})
    return carry_out(plan)


def _become_small(plan: Plan, descriptors: Sequence[int], environ: Mapping[str, str]) -> NoReturn:
    memory = os.memfd_create("davfusion")  # of this process alone: the plan holds secrets
    with os.fdopen(memory, "wb", closefd=False) as file:
        file.write(plan.to_line().encode())
    os.lseek(memory, 0, os.SEEK_SET)
    for descriptor in (memory, *descriptors):
        os.set_inheritable(descriptor, True)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    command = (*_command_for("supervising"), str(memory))
    os.execve(command[0], command, environ)
