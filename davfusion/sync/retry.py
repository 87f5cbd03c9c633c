"""When to try again: capped exponential backoff with full jitter, and a circuit breaker per store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from davfusion.store.errors import OutOfSpaceError, SignInNeededError, StoreError, TemporaryError


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds; the n-th lies between `first` and `first * 2**n`, at most `longest`."""

    first: float = 1.0
    longest: float = 300.0
    patient: float = 30.0
    """The least delay for what does not pass by itself soon: a full account, a sign-in."""

    def delay(self, attempts: int, error: StoreError, random: Random) -> float:
        """How long to wait after the failed attempt number `attempts` (from 1)."""
        if isinstance(error, TemporaryError) and error.retry_after is not None:
            return max(self.first, error.retry_after)
        ceiling = min(self.longest, self.first * 2.0 ** min(attempts, 20))
        delay = random.uniform(self.first, ceiling)
        return max(delay, self.patient) if isinstance(error, (OutOfSpaceError, SignInNeededError)) else delay


class Fullness:
    """Remembers for which size the store had no room, so that as large ones are not sent in vain meanwhile.

    Thread-safe: what it remembers is one value. Sizes in bytes, times in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float], *, pause: float = 30.0) -> None:
        self._clock = clock
        self._pause = pause
        self._refused: tuple[int, float] | None = None

    def refused(self, size: int) -> None:
        """The store had no room for a file of this size."""
        self._refused = size, self._clock()

    def accepted(self, size: int) -> None:
        """The store took a file of this size."""
        if self._refused is not None and size >= self._refused[0]:
            self._refused = None

    def holds_until(self, size: int) -> float | None:
        """Until when a file of this size is not worth a try; None when it is."""
        refused = self._refused
        if refused is None or size < refused[0] or not 0 <= self._clock() - refused[1] < self._pause:
            return None
        return refused[1] + self._pause


class Breaker:
    """Stops asking a store that fails for everything; lets one try through now and then.

    For the engine's scheduler; not thread-safe. Delays in seconds.
    """

    def __init__(self, clock: Callable[[], float], *, failures: int = 5, pause: float = 5.0) -> None:
        self._clock = clock
        self._limit = failures
        self._pause = pause
        self._failures = 0
        self._failed_at = 0.0
        self._rest = 0.0

    @property
    def is_open(self) -> bool:
        """The store is taken for down."""
        return self._failures >= self._limit

    def allows(self) -> bool:
        """Whether a request may be tried now. A clock that was set back does not close it for longer."""
        return not self.is_open or not 0 <= self._clock() - self._failed_at < self._rest

    def opens_at(self) -> float | None:
        """When the next try is allowed, while the store is taken for down."""
        return self._failed_at + self._rest if self.is_open else None

    def succeeded(self) -> bool:
        """The store answered; returns whether it had been taken for down."""
        was_open, self._failures = self.is_open, 0
        return was_open

    def failed(self, retry_after: float | None = None, *, at_once: bool = False) -> None:
        """The store could not be asked; it may have said for how long. `at_once`: one such answer is enough."""
        self._failures = max(self._failures + 1, self._limit if at_once else 0)
        self._failed_at = self._clock()
        self._rest = max(self._pause, retry_after or 0.0)
