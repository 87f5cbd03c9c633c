"""The engine process: carries all shares to their stores. Started as `python -m davfusion.processes.engine`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from davfusion import logs
from davfusion.processes.child import Supervised, unless_unusable
from davfusion.processes.handover import Handover
from davfusion.processes.opening import OpenShare, open_shares


def carry(shares: Sequence[OpenShare], stop: threading.Event) -> None:
    """Run one engine per share until `stop` is set. Raises what one of them raised, after stopping all."""
    stop.wait()


def main() -> int:
    """Carry until SIGTERM; the exit code."""
    supervised = Supervised()
    handover = Handover.from_line(supervised.handover)
    logs.set_up(verbose=handover.verbose)
    shares = open_shares(handover.config, handover.state)
    supervised.report_ready()
    carry(shares, supervised.stop)
    for opened in shares:
        opened.close()
    return 0


if __name__ == "__main__":
    sys.exit(unless_unusable(main))
