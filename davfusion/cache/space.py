"""Room for contents: the limit of the cache, eviction between two watermarks, back-pressure.

What counts is everything in the state directory, once: cache files, bodies on their way in, the index with its log. The
index counts by its pages in use, and small contents lie in them: eviction frees their pages for others like them. What
is in the log only counts as pages too, since that is where it goes. The log goes first where room is missing.
Only clean contents go; when new data alone fills the cache, writers are slowed first and refused
then, before their body is read. Nothing that was accepted fails.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass

from davfusion.cache.allowance import Allowance
from davfusion.cache.contents import ContentFiles
from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Content, Index, View

log = logging.getLogger("davfusion.cache.space")

EVICT_BATCH = 100
SLOW_FROM = 0.9
"""Share of the limit, held by data that cannot be evicted, above which writers are slowed."""
LONGEST_WAIT = 1.0
"""Seconds that one piece of a body waits at most."""
RECHECK = 0.5
"""Seconds for which a measured pressure is used again."""
ROOM_RECHECK = 0.05
"""Seconds for which measured room is relied upon for bodies that it leaves plenty for."""


@dataclass(frozen=True, slots=True)
class SpaceLimits:
    """Sizes in bytes."""

    cache_size: int = 10_000_000_000
    """Everything in the state directory together."""
    low_watermark: float = 0.9
    """Eviction goes on until the use is below this share of the limit."""
    min_free: int = 64_000_000
    """Bytes of the disk that are left free for others."""


class Space:
    """Answers whether there is room, and makes some. Thread-safe; other processes use the same files and index."""

    def __init__(self, index: Index, files: ContentFiles, limits: SpaceLimits) -> None:
        self._index = index
        self._files = files
        self._limits = limits
        self._estimate = 0
        self._measured = -RECHECK
        self._allowance = Allowance(ROOM_RECHECK)

    @property
    def limit(self) -> int:
        """Bytes that the state directory may hold."""
        return self._limits.cache_size

    def used(self) -> int:
        """Bytes in use now."""
        held = self._index.view().operations.cached_bytes()
        return held + self._files.received_bytes() + self._index.size() + self._index.log_size()

    def available(self) -> int:
        """Bytes that a new body may have at most if everything clean went, and the log of the index."""
        view = self._index.view()
        needed, held = view.contents.unsynced_bytes(), view.contents.held_bytes()
        in_index = held - view.operations.cached_bytes()
        staying = needed + self._files.received_bytes() + self._index.size() - in_index
        evictable = max(0, held - needed)
        return max(0, min(self._limits.cache_size - staying, self._disk_free() + evictable))

    def reserve(self, length: int) -> bool:
        """Make sure that a body of `length` bytes has room. Raises CacheFullError.

        Where there is plenty, it is not measured anew for each body: True then, and its writer need not be slowed.
        """
        if self._allowance.take(length):
            return True
        if not self.make_room(length):
            raise CacheFullError(
                "The cache is full of files that have not reached the cloud yet; try again later", "/")
        self._allowance.refill(self._plenty() - length)
        return False

    def make_room(self, length: int) -> bool:
        """Evict what is needed for `length` more bytes; returns whether there is room then."""
        missing = self._missing(length)
        if missing > 0:
            self._index.shorten_log()
            missing = self._missing(length)
        if missing > 0:
            self.evict(missing + int(self._limits.cache_size * (1 - self._limits.low_watermark)))
            missing = self._missing(length)
        return missing <= 0

    def admit(self, unannounced: int) -> None:
        """Called before each piece of a body: refuses when the unannounced part has no room, slows when little is left.

        Raises CacheFullError.
        """
        pressure = self._current_pressure(unannounced)
        if unannounced and pressure > SLOW_FROM and not self.make_room(unannounced):
            raise CacheFullError("The cache is full of files that have not reached the cloud yet", "/")
        if pressure > SLOW_FROM:
            time.sleep(min(LONGEST_WAIT, LONGEST_WAIT * (pressure - SLOW_FROM) / (1 - SLOW_FROM)))

    def evict(self, wanted: int) -> int:
        """Hold clean contents no more, least recently used first, until `wanted` bytes are free."""
        freed = 0
        while freed < wanted:
            missing = wanted - freed
            batch = self._index.write(lambda view, missing=missing: _evict(view, missing))  # type: ignore[misc]
            if not batch:
                break
            self._index.flush()
            for content in batch:
                if content.file is not None:
                    self._files.remove(content.file)
            freed += sum(content.held for content in batch)
        if freed:
            self._index.shorten_log()  # which holds what the pages were before, and that they are free
            log.info("contents evicted", extra={"bytes": freed, "wanted": wanted})
        return freed

    def _missing(self, length: int) -> int:
        return length - self._room()

    def _room(self) -> int:
        """Bytes that fit now without any eviction; negative where there are too many already."""
        return min(self._limits.cache_size - self.used(), self._disk_free())

    def _plenty(self) -> int:
        """As `_room`, but nothing where writers are to be slowed."""
        used = self.used()
        if used > self._limits.cache_size * SLOW_FROM:
            return 0
        return min(self._limits.cache_size - used, self._disk_free())

    def _disk_free(self) -> int:
        free = shutil.disk_usage(self._files.directory).free
        return max(0, free - self._limits.min_free - self._files.awaited_bytes())

    def _current_pressure(self, coming: int) -> float:
        """The share of the limit in use with `coming` bytes more; measured now and then, and added up in between."""
        self._estimate += coming
        now = time.monotonic()
        if now - self._measured > RECHECK:
            used = self.used()
            if used > self._limits.cache_size * SLOW_FROM:
                self._index.shorten_log()
                self.evict(self.used() - int(self._limits.cache_size * self._limits.low_watermark))
                used = self.used()
            self._estimate = used + coming
            self._measured = now
        return min(1.0, self._estimate / max(1, self._limits.cache_size))


def _evict(view: View, wanted: int) -> list[Content]:
    """Hold some clean contents no more; returns them as they were."""
    taken: list[Content] = []
    for content in view.contents.evictable(EVICT_BATCH):
        if wanted <= 0:
            break
        if view.contents.evict(content.id):
            taken.append(content)
            wanted -= content.held
    return taken
