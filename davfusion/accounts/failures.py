"""How wrong passwords slow down whoever sends them.

Counted are the failures of an account from one origin, of an origin whatever the account, and of an account whatever
the origin. The first two make their origin wait. The third alone lets nobody wait: it only makes the wait of an
origin longer that has just failed, so that guessing from many places gets slow, and the owner, who knows the
password, is let in from elsewhere at once.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLimits:
    """Times in seconds."""

    pair_free: int = 4
    """Failures of an account from one origin that cost no wait."""
    origin_free: int = 20
    """The same of an origin with any accounts: several people may be behind it."""
    account_free: int = 20
    """The same of an account from anywhere."""
    forgotten_after: float = 60.0
    """One failure less is counted after so long, again and again."""
    longest_wait: float = 300.0
    capacity: int = 10_000
    """Origins, accounts, and pairs of them that are remembered; the least recently seen go first."""


@dataclass(slots=True)
class _Tally:
    count: float
    at: float
    until: float = 0.0


class _Tallies:
    """Counts that fade, by key, no more than `capacity`. Not thread-safe."""

    def __init__(self, limits: FailureLimits) -> None:
        self._limits = limits
        self._by_key: OrderedDict[Hashable, _Tally] = OrderedDict()

    def add(self, key: Hashable, now: float) -> _Tally:
        """Count one more; the tally after that."""
        tally = self._by_key.get(key)
        if tally is None:
            tally = self._by_key[key] = _Tally(0.0, now)
        tally.count = max(0.0, tally.count - (now - tally.at) / self._limits.forgotten_after) + 1
        tally.at = now
        self._by_key.move_to_end(key)
        while len(self._by_key) > self._limits.capacity:
            self._by_key.popitem(last=False)
        return tally

    def until(self, key: Hashable) -> float:
        """When the wait of this key ends."""
        tally = self._by_key.get(key)
        return 0.0 if tally is None else tally.until

    def forget(self, key: Hashable) -> None:
        self._by_key.pop(key, None)

    def __len__(self) -> int:
        return len(self._by_key)


class Failures:
    """The failures that this process saw. Thread-safe; bounded in memory."""

    def __init__(self, limits: FailureLimits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or FailureLimits()
        self._clock = clock
        self._lock = threading.Lock()
        self._pairs = _Tallies(self.limits)
        self._origins = _Tallies(self.limits)
        self._accounts = _Tallies(self.limits)

    def __len__(self) -> int:
        """The number of counts that are kept."""
        with self._lock:
            return len(self._pairs) + len(self._origins) + len(self._accounts)

    def wait(self, account: str, origin: str) -> float:
        """Seconds before a password of this account from this origin is looked at; 0 is at once."""
        with self._lock:
            until = max(self._pairs.until((account, origin)), self._origins.until(origin))
            return max(0.0, until - self._clock())

    def failed(self, account: str, origin: str) -> float:
        """Count a wrong password; returns the wait that follows."""
        limits = self.limits
        with self._lock:
            now = self._clock()
            pair = self._pairs.add((account, origin), now)
            whole = self._origins.add(origin, now)
            everywhere = self._accounts.add(account, now).count
            pair.until = now + max(
                self._delay(pair.count - limits.pair_free), self._delay(everywhere - limits.account_free))
            whole.until = now + self._delay(whole.count - limits.origin_free)
            return max(pair.until, whole.until) - now

    def succeeded(self, account: str, origin: str) -> None:
        """A right password: mistypings before it are forgotten. What the origin did to other accounts is not."""
        with self._lock:
            self._pairs.forget((account, origin))

    def _delay(self, excess: float) -> float:
        """2 seconds for the first failure too many, then twice as long for each."""
        return 0.0 if excess <= 0 else min(self.limits.longest_wait, 2.0 ** min(excess, 64.0))
