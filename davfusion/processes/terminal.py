"""Whether a hangup (SIGHUP) means that the terminal was closed, or is a wish to read files again."""

from __future__ import annotations

import os
import signal


class Terminal:
    """The terminal that this process was started from, if any; to be made before SIGHUP is handled."""

    def __init__(self) -> None:
        # nohup ignores the signal: such a server stays when the terminal goes
        self._matters = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_there()

    def is_gone(self) -> bool:
        """Whether there was a terminal and it was closed."""
        return self._matters and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
