"""Counts of accesses, kept in the index so that every process adds to one sum."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Index, View
from davfusion.store.errors import StoreError

log = logging.getLogger("davfusion.cache.statistics")

FLUSH_EVERY = 5.0
"""Seconds between two additions to the index at least: opening a file must not cost a transaction."""
USE_GRAIN = 60.0
"""Seconds within which a second use of a content is not noted."""


class AccessCounter:
    """Counts files opened from the cache (hits), files that the store was needed for (misses) and what it sent, and
    notes when a content was used, for the order of eviction. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0
        self._downloaded = 0
        self._downloading = 0.0
        self._uses: dict[int, float] = {}
        self._flushed = time.monotonic()
        self.flush_every = FLUSH_EVERY
        """Seconds between two additions to the index at least."""

    def hit(self) -> None:
        """A file was opened that was wholly in the cache."""
        with self._lock:
            self._hits += 1
        self._flush_when_due()

    def again(self, content: int, last: float) -> float:
        """A file was read whose bytes were at hand in memory: a hit, and a use as `use` takes and returns it."""
        self.hit()
        return self.use(content, last)

    def miss(self) -> None:
        """A file was opened that was not wholly in the cache."""
        with self._lock:
            self._misses += 1
        self._flush_when_due()

    def downloaded(self, size: int, seconds: float) -> None:
        """Bytes came from the store, and so long it took."""
        with self._lock:
            self._downloaded += size
            self._downloading += seconds

    def use(self, content: int, last: float) -> float:
        """A content is used now; `last` is the use that was noted last, the result the one that is noted now.

        Both in seconds since the epoch.
        """
        now = self._index.now()
        if abs(now - last) <= USE_GRAIN:
            return last
        with self._lock:
            self._uses[content] = now
        return now

    def flush(self) -> None:
        """Add what was counted to the index. Where that fails it is not counted: reading goes on."""
        with self._lock:
            sums = {"cache_hits": self._hits, "cache_misses": self._misses, "downloaded_bytes": self._downloaded,
                    "downloading_milliseconds": round(self._downloading * 1000)}
            uses, self._uses = self._uses, {}
            self._hits = self._misses = self._downloaded = 0
            self._downloading = 0.0
            self._flushed = time.monotonic()
        if not uses and not any(sums.values()):
            return
        try:
            self._index.write(lambda view: _add(view, sums, uses))
        except (CacheFullError, StoreError, sqlite3.OperationalError) as error:
            log.warning("accesses not counted", extra={"problem": str(error)})

    def _flush_when_due(self) -> None:
        if time.monotonic() - self._flushed > self.flush_every:
            self.flush()


def _add(view: View, sums: dict[str, int], uses: dict[int, float]) -> None:
    for name, amount in sums.items():
        view.operations.add(name, amount)
    for content, now in uses.items():
        view.contents.use(content, now)
