"""The child's side of `davfusion.processes.supervisor`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from davfusion.processes.protocol import EXIT_UNUSABLE, HANDLED_SIGNALS
from davfusion.settings import ConfigError

_PR_SET_PDEATHSIG = 1


class Supervised:
    """This process as a child of a supervisor.

    `handover` is the text that the supervisor gave, `stop` is set by SIGTERM, `reload` by SIGHUP. SIGINT and
    SIGUSR1 are left to the supervisor. The process ends at once, by SIGKILL, when the supervisor is gone: a
    successor may be starting on the same state.
    """

    def __init__(self) -> None:
        """To be called once, before anything else, in the main thread."""
        self.stop = threading.Event()
        self.reload = threading.Event()
        signal.signal(signal.SIGHUP, self._request_reload)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._request_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        self._report = os.dup(1)
        os.dup2(2, 1)  # whatever a library prints is no report
        self.handover = _first_line()
        threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()

    def report_ready(self) -> None:
        """Tell the supervisor that this child does its work."""
        os.write(self._report, b"ready\n")

    def _request_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload.set()

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop.set()


def unless_unusable(main: Callable[[], int]) -> int:
    """The exit code of `main`, or the one that tells the supervisor not to start this again."""
    try:
        return main()
    except ConfigError as error:
        sys.stderr.write(f"davfusion: {error}\n")
        return EXIT_UNUSABLE


def _first_line() -> str:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            os.kill(os.getpid(), signal.SIGKILL)
        line += part
    return line.decode()


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
