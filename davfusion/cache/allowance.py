"""Room that may be given away without measuring it anew for each body."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SHARE = 0.25
"""The part of measured room that is given away until it is measured again: other processes give away theirs."""


class Allowance:
    """Bytes that surely fit, from the last time that the room was measured. Thread-safe; sizes in bytes.

    `good_for`: seconds after which the room is measured again.
    """

    def __init__(self, good_for: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._good_for = good_for
        self._clock = clock
        self._lock = threading.Lock()
        self._left = 0.0
        self._until = 0.0

    def take(self, size: int) -> bool:
        """Whether `size` bytes fit into what may be given away; False: measure, and refill.

        When it is time to measure again one caller is told so; the others go on with what is left meanwhile.
        """
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._until = now + self._good_for
                return False
            if size > self._left:
                return False
            self._left -= size
            return True

    def refill(self, room: int) -> None:
        """So many bytes were measured just now."""
        with self._lock:
            self._left = max(0, room) * SHARE
            self._until = self._clock() + self._good_for
