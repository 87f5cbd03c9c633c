"""Staying awake for a client that asks again at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_SOON = 0.0002
"""Seconds in which a next request comes that is worth staying awake for."""
_HABIT = 8
"""Requests, each soon after the one before, that make it likely that the next comes soon, too."""
_TRUST = 2 * _HABIT
"""More of them make it no likelier."""
_DOUBT = 4
"""So many of them count for nothing when somebody else speaks in between."""


class EagerWait:
    """Waits for events without falling asleep where one connection asks again and again, and others hardly.

    To put a core to sleep and to wake it takes longer than a small answer, on a virtual machine several times as
    long. A client that sends its next request as soon as it has the answer is awaited with open eyes, for as long as
    it does, and never for longer than its next request takes usually. For one thread at a time.
    """

    def __init__(
        self, wait: Callable[[float | None], list[int]], *, clock: Callable[[], float] = time.monotonic,
        cores: int | None = os.cpu_count(),
    ) -> None:
        """`wait` returns the descriptors that have something to say; it is given the seconds to wait at most."""
        self._wait = wait
        self._clock = clock
        self._favourite: list[int] = []
        """The one descriptor that is likely to speak soon."""
        self._times = 0
        # On a single core the client would be kept from sending what it is awaited for.
        self._possible = (cores or 1) > 1

    def wait(self, seconds: float | None) -> list[int]:
        """What `wait` returns."""
        began = self._clock()
        found = self._look(began + _SOON) if self._times >= _HABIT else []
        if not found:
            found = self._wait(seconds)
        self._note(found, soon=self._clock() - began < _SOON)
        return found

    def _note(self, found: list[int], *, soon: bool) -> None:
        if found != self._favourite or len(found) != 1:
            self._times -= _DOUBT
        elif soon and self._possible:
            self._times = min(self._times + 1, _TRUST)
        else:
            self._times = 0
        if self._times <= 0:
            self._times = 0
            self._favourite = found

    def _look(self, until: float) -> list[int]:
        while self._clock() < until:
            found = self._wait(0)
            if found:
                return found
        return []
