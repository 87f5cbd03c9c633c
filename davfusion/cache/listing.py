"""Keeps folders of the tree as fresh as promised by listing them in the store.

A listing notes the index's sequence before it begins; names that a write of ours touched since, or is
touching, are left alone. So a listing that began before an upload ended never overrides it.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from davfusion.cache import late, synced
from davfusion.cache.adopt import adopt, finding
from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Index, Record, View
from davfusion.cache.refresh import CHANGES_NOTHING
from davfusion.store.errors import NotFoundError, StoreError, TemporaryError
from davfusion.store.interface import Metadata, Store, join

log = logging.getLogger("davfusion.cache.listing")

BATCH = 100
"""Names applied in one transaction."""
PAUSE_AFTER_FAILURE = 5.0
"""Seconds for which a failing store is not asked again while an older listing can be served."""
ATTEMPTS = 5
"""Times that a listing is begun anew because the folder was being moved meanwhile."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old a listing may be; seconds."""

    revalidate_after: float = 60.0
    """Age from which a folder is listed again before it is shown."""
    cold_deadline: float = 60.0
    """How long a request waits for a folder that was never listed."""
    stale_deadline: float = 5.0
    """How long a request waits for a newer listing before it is shown the older one."""


class FolderLister(Protocol):
    """Keeps folders as fresh as promised. Thread-safe."""

    knows_all: bool
    """Nobody else changes the store: `ensure` never asks anything."""

    def ensure(self, folder: Record) -> bool:
        """Make sure that a folder's children are known and fresh enough; returns whether anything was asked."""

    def refresh(self, folder: int) -> None:
        """List one folder now. Raises StoreError."""

    def close(self) -> None:
        """Wait for listings under way and stop."""


class Lister:
    """Refreshes folders on demand. Thread-safe; one listing of a folder at a time in this process."""

    knows_all = False

    def __init__(self, index: Index, store: Store, freshness: Freshness) -> None:
        self._index = index
        self._store = store
        self._freshness = freshness
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="listing")
        self._under_way: dict[int, Future[None]] = {}
        self._lock = threading.RLock()
        """Reentrant: a listing that is over at once ends in the thread that began it."""
        self._failed_until = 0.0

    def ensure(self, folder: Record) -> bool:
        """Make sure that a folder's children are known and fresh enough; returns whether anything was asked.

        Raises StoreError when they were never known and the store cannot be asked.
        """
        if not folder.is_synced or self._is_good(folder) or not _listable(self._index.view(), folder, self._store):
            return False
        return self._wait(folder)

    def refresh(self, folder: int) -> None:
        """List one folder now and apply what it shows. Raises StoreError."""
        for _ in range(ATTEMPTS):
            if self._refresh_once(folder):
                return
        raise TemporaryError("The folder is being moved in the store", retry_after=1.0)

    def close(self) -> None:
        """Wait for listings under way and stop."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _is_good(self, folder: Record) -> bool:
        """Fresh enough, or the best that can be had while the store fails. A clock that was set back makes it old."""
        if folder.listed is None:
            return False
        now = self._index.now()
        return 0 <= now - folder.listed < self._freshness.revalidate_after or now < self._failed_until

    def _wait(self, folder: Record) -> bool:
        cold = folder.listed is None
        deadline = self._freshness.cold_deadline if cold else self._freshness.stale_deadline
        try:
            self._begin(folder.id).result(timeout=deadline)
            return True
        except FutureTimeoutError:
            if cold:
                raise TemporaryError("The store takes too long to list the folder", folder.synced_path,
                                     retry_after=10.0) from None
        except NotFoundError:
            self._index.write(lambda view: _folder_vanished(view, folder.id))
            return True
        except (StoreError, CacheFullError) as error:
            self._failed_until = self._index.now() + PAUSE_AFTER_FAILURE
            log.warning("folder not refreshed", extra={"path": folder.synced_path, "problem": str(error)})
            if cold:
                raise
        return False

    def _begin(self, folder: int) -> Future[None]:
        with self._lock:
            future = self._under_way.get(folder)
            if future is None:
                future = self._pool.submit(self.refresh, folder)
                self._under_way[folder] = future
                future.add_done_callback(lambda _: self._ended(folder))
            return future

    def _ended(self, folder: int) -> None:
        with self._lock:
            self._under_way.pop(folder, None)

    def _refresh_once(self, folder: int) -> bool:
        """One listing; False when the folder was moved meanwhile and the listing says nothing."""
        view = self._index.view()
        record = view.nodes.get(folder)
        if record is None or record.synced_path is None:
            return True
        since, began = view.operations.sequence(), self._index.now()
        shown = {entry.path.rpartition("/")[2]: entry
                 for page in self._store.list_pages(record.synced_path) for entry in page}
        listing = _Listing(record, since, began)
        names = _differing(view, listing.folder, shown)
        for start in range(0, len(names), BATCH):
            batch = {name: shown.get(name) for name in names[start:start + BATCH]}
            if not self._store.capabilities.strong_consistency:
                batch = self._look_again(listing, batch)
            standing = self._index.write(lambda view, batch=batch: listing.apply(view, batch))  # type: ignore[misc]
            if standing is not _Standing.HOLDS:
                return standing is _Standing.OVERTAKEN
        return self._index.write(listing.complete) is not _Standing.VOID

    def _look_again(self, listing: _Listing, batch: dict[str, Metadata | None]) -> dict[str, Metadata | None]:
        """Where listings may be stale, whatever would change the tree is asked for by itself."""
        view = self._index.view()
        return {name: self._store.find(join(listing.record.synced_path or "/", name))
                if _would_change(view, listing.record, name, entry) else entry
                for name, entry in batch.items()}


class _Standing(Enum):
    """What a listing is still worth when it is to be applied."""

    HOLDS = auto()
    OVERTAKEN = auto()
    """Another process has applied one that began later."""
    VOID = auto()
    """The folder was moved meanwhile."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """A listing of the store that is being applied; `record` is the folder as it was when it began."""

    record: Record
    since: int
    began: float

    @property
    def folder(self) -> str:
        return synced.store_folder(self.record.synced_path or "/")

    def apply(self, view: View, batch: dict[str, Metadata | None]) -> _Standing:
        """Apply some names, if the listing still holds."""
        standing = self._standing(view)
        if standing is _Standing.HOLDS:
            unsettled = view.operations.unsettled_names(self.folder, self.since)
            awaited = view.operations.late_names(self.folder)
            for name, entry in batch.items():
                if name in unsettled or (name in awaited and late.has_come(view, f"{self.folder}/{name}", entry)):
                    continue
                adopt(view, self.record, name, entry)
        return standing

    def complete(self, view: View) -> _Standing:
        """All names are applied: the folder is known as of the listing's begin, unless a newer one was asked for."""
        standing = self._standing(view)
        if standing is _Standing.HOLDS and not self._is_asked_for_anew(view):
            view.nodes.update(self.record.id, listed=self.began)
        return standing

    def _standing(self, view: View) -> _Standing:
        record = view.nodes.get(self.record.id)
        if (record is None or record.synced_path != self.record.synced_path
                or view.operations.unsettled_above(self.folder, self.since)):
            return _Standing.VOID
        listed_since = record.listed is not None and record.listed != self.record.listed
        return _Standing.OVERTAKEN if listed_since and (record.listed or 0) > self.began else _Standing.HOLDS

    def _is_asked_for_anew(self, view: View) -> bool:
        record = view.nodes.get(self.record.id)
        return (record is not None and record.listed is not None and record.listed <= 0
                and record.listed != self.record.listed)


def _differing(view: View, folder: str, shown: dict[str, Metadata]) -> list[str]:
    """The names about which a listing says anything new: most often few of many.

    Read outside the transaction: that the store still holds what it was last seen to hold stays true, or
    becomes unsettled by a write of ours.
    """
    kept = view.nodes.seen_in_store_folder(folder)
    new = [name for name, entry in shown.items()
           if name not in kept or kept[name] != (entry.is_dir, None if entry.is_dir else entry.version)]
    return new + [name for name in kept if name not in shown]


def _listable(view: View, folder: Record, store: Store) -> bool:
    """Whether all objects of the folder lie at one place of the store: not while it is moved piece by piece."""
    if store.capabilities.atomic_move or folder.listed is None:
        return True
    return not folder.scattered and synced.in_place(view, folder.id)


def _would_change(view: View, folder: Record, name: str, shown: Metadata | None) -> bool:
    return finding(view, folder, name, shown) not in CHANGES_NOTHING


def _folder_vanished(view: View, folder: int) -> None:
    """The store says that a known folder does not exist: the one above it is to be listed again."""
    record = view.nodes.get(folder)
    if record is None or record.is_root:
        return
    if record.synced_parent is not None:
        view.nodes.relist(record.synced_parent)
