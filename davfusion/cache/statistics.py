"""Counts of accesses, kept in the index so that every process adds to one sum."""

from __future__ import annotations

import threading
import time

from davfusion.cache.index import Index, View

FLUSH_EVERY = 5.0
"""Seconds between two additions to the index at least."""


class AccessCounter:
    """Counts files opened from the cache (hits) and files that the store was needed for (misses). Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0
        self._flushed = time.monotonic()

    def hit(self) -> None:
        """A file was opened that was wholly in the cache."""
        with self._lock:
            self._hits += 1
        self._flush_when_due()

    def miss(self) -> None:
        """A file was opened that was not wholly in the cache."""
        with self._lock:
            self._misses += 1
        self._flush_when_due()

    def flush(self) -> None:
        """Add what was counted to the index."""
        with self._lock:
            hits, misses = self._hits, self._misses
            self._hits = self._misses = 0
            self._flushed = time.monotonic()
        if hits or misses:
            self._index.write(lambda view: _add(view, hits, misses))

    def _flush_when_due(self) -> None:
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self.flush()


def _add(view: View, hits: int, misses: int) -> None:
    view.operations.add("cache_hits", hits)
    view.operations.add("cache_misses", misses)
