"""What was made lately, at hand for who brings the same again."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The last `most` values by what they were made of; the oldest go. Safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self.values: dict[K, V] = {}
        """To be read only."""
        self._most = most
        self._lock = threading.Lock()

    def keep(self, key: K, value: V) -> V:
        """Have the value at hand from now on; returns the one that is, which may be another thread's."""
        with self._lock:
            kept = self.values.setdefault(key, value)
            if len(self.values) > self._most:
                del self.values[next(iter(self.values))]
            return kept
