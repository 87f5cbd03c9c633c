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

    def __init__(self, *, turns: Callable[[], int], data_version: Callable[[], int]) -> None:
        """`turns` is another number after every commit, odd where one may be under way. Only then is asked for
        `data_version`, which changes with every commit, can be compared within one thread only, and costs more.
        """
        self._turns = turns
        self._data_version = data_version
        self._seen = _Seen()
        self._lock = threading.Lock()
        self._number = 0
        self._turns_then: int | None = None
        """An even count of turns: as long as it is the count, the number holds."""

    def now(self) -> int:
        """The number of the state that is there now, or of a later one."""
        turns = self._turns()
        if turns == self._turns_then:
            return self._number
        if turns % 2 == 0:
            self._count()
            self._turns_then = turns
            return self._number
        version = self._data_version()
        if self._seen.version != version:
            # Another thread may have counted this commit already: then it counts twice, which costs a rendering.
            self._count()
            self._seen.version = version
        return self._number

    def _count(self) -> None:
        with self._lock:
            self._number += 1
