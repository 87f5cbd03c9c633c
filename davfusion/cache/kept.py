"""Values kept at hand in memory, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by key, `limit` bytes of them at most; the least recently used ones go. Thread-safe.

    Whether a value is still true is for the caller to find out.
    """

    def __init__(self, limit: int) -> None:
        """`limit` in bytes."""
        self._limit = limit
        self._lock = threading.Lock()
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._size

    def get(self, key: K) -> V | None:
        """The value, if there is one; this is a use of it."""
        with self._lock:
            kept = self._values.get(key)
            if kept is None:
                return None
            self._values.move_to_end(key)
            return kept[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of so many bytes in place of the former one, unless it would take over a quarter of the room."""
        with self._lock:
            former = self._values.pop(key, None)
            if former is not None:
                self._size -= former[1]
            if size > self._limit // 4:
                return
            self._values[key] = (value, size)
            self._size += size
            while self._size > self._limit:
                _, (_, oldest) = self._values.popitem(last=False)
                self._size -= oldest
