"""Tells what was read from the index earlier whether it is still true, whichever thread or process writes."""

from __future__ import annotations

import threading
from collections.abc import Callable


class _Seen(threading.local):
    """What each thread saw last."""

    version: int | None = None


class Generation:
    """Numbers the states of an index, whichever thread or process changes it. Thread-safe.

    What was read after a call, and is found again when a later call returns the same number, is what would be read
    now. The number may change without a change.
    """

    def __init__(self, data_version: Callable[[], int]) -> None:
        """`data_version` changes with every commit and can be compared within one thread only."""
        self._data_version = data_version
        self._seen = _Seen()
        self._lock = threading.Lock()
        self._number = 0

    def now(self) -> int:
        """The number of the state that is there now, or of a later one."""
        version = self._data_version()
        if self._seen.version != version:
            # Another thread may have counted this commit already: then it counts twice, which costs a rendering.
            with self._lock:
                self._number += 1
            self._seen.version = version
        return self._number
