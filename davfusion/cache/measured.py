"""A value that costs time to measure, measured so seldom that it does not matter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

NEGLIGIBLE = 0.005
"""Seconds of work that are done anew each time."""
SHARE = 0.05
"""The part of the time that measuring may take."""


class Measured(Generic[T]):
    """Measures anew for each `get` while that is little work, else so seldom that it takes a twentieth of the time.

    Thread-safe. `clock` tells seconds that pass, `effort` seconds that this thread worked.
    """

    def __init__(self, measure: Callable[[], T], *, clock: Callable[[], float] = time.monotonic,
                 effort: Callable[[], float] = time.thread_time) -> None:
        self._measure = measure
        self._clock = clock
        self._effort = effort
        self._lock = threading.Lock()
        self._last: tuple[T, float] | None = None
        """The value and until when it is good."""

    def get(self) -> T:
        """The value as it is, or as it was lately. Raises what `measure` raises."""
        with self._lock:
            if self._last is not None and self._clock() < self._last[1]:
                return self._last[0]
            began = self._effort()
            value = self._measure()
            took = self._effort() - began
            self._last = (value, self._clock() + took / SHARE) if took > NEGLIGIBLE else None
            return value
