"""Removes from the store what no content lies in any more, and packs archives that are mostly holes anew.

An object leaves in steps, each noted in the index, so that an interruption anywhere only means going on later: no
content lies in it (leaving), the journal does not name it any more (released), the time of grace is over
(deleting), it is gone. Until the last step a content may come to lie in it again.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from davfusion.cache.index import Place, StoredObject, View
from davfusion.cache.index.objects import DELETING, HELD, LEAVING, WRITING
from davfusion.cache.parts import part_of
from davfusion.cache.share import Share
from davfusion.cache.whole import open_whole
from davfusion.chunks import volume
from davfusion.chunks.archive import unpack
from davfusion.chunks.errors import DamagedError
from davfusion.store.errors import NotFoundError
from davfusion.sync.chunked.carriage import Carriage
from davfusion.sync.chunked.factory import Item
from davfusion.sync.chunked.tenure import Tenure

log = logging.getLogger("davfusion.sync.chunked")

BATCH = 100


@dataclass(frozen=True, slots=True)
class Thrift:
    """How thrifty the collector is. Times in seconds, sizes in bytes."""

    grace: float = 86_400.0
    """How long an object stays that the journal does not name any more."""
    unfinished: float = 3_600.0
    """How long an object in which no content lies may still be on its way."""
    live_ratio: float = 0.5
    """An archive of which less than this is in use is packed anew."""
    small: int = 4 << 20
    """Archives smaller than this are merged, when there are enough of them."""
    merge_from: int = 8
    """Small archives that are enough to be merged."""
    budget: int = 64 << 20
    """Bytes that are packed anew in one round at most."""
    archive_size: int = 16 << 20
    """What is packed anew together, at most."""


class Collector:
    """Tidies the objects of one share. For one thread at a time; each step is safe to interrupt."""

    def __init__(self, share: Share, carriage: Carriage, thrift: Thrift, *, tenure: Tenure, lock: threading.Lock
                 ) -> None:
        """`lock` is held while contents are noted at new places."""
        self._share = share
        self._index = share.index
        self._store = share.store
        self._carriage = carriage
        self._thrift = thrift
        self._tenure = tenure
        self._lock = lock
        self._left: set[str] = set()
        """Archives that do not give out all that should be in them."""

    def run(self, stop: threading.Event) -> None:
        """One round; ends early when `stop` is set. Raises StoreError."""
        self.condemn()
        self.delete(stop)
        self.rewrite(stop)

    def condemn(self) -> int:
        """Objects in which no content lies are to go; returns how many."""
        def change(view: View) -> int:
            unused = view.objects.unused(view.now() - self._thrift.unfinished, BATCH)
            doomed = [each for each in unused if not self._carriage.wants(each.path)]
            for each in doomed:  # one that was never finished may not be there: nothing may come to lie in it
                view.objects.set_state(each.path, DELETING if each.state == WRITING else LEAVING, view.now())
            return len(doomed)
        count = 0
        while moved := self._index.write(change):
            count += moved
        return count

    def delete(self, stop: threading.Event) -> int:
        """Delete what is released and whose time of grace is over; returns how many. Raises StoreError."""
        self._index.write(self._begin_deleting)
        doomed = self._index.view().objects.all(DELETING)
        for count, each in enumerate(doomed):
            if stop.is_set() or not self._tenure.is_held:
                return count
            self._store.delete(each.path, is_dir=False)
            self._index.write(lambda view, path=each.path: view.objects.remove(path))  # type: ignore[misc]
        if doomed:
            log.info("objects deleted", extra={"count": len(doomed)})
        return len(doomed)

    def _begin_deleting(self, view: View) -> None:
        for each in view.objects.in_state_since(LEAVING, view.now() - self._thrift.grace, BATCH):
            if not each.journalled and not each.live and not self._carriage.wants(each.path):
                view.objects.set_state(each.path, DELETING, view.now())

    # -- packing anew -------------------------------------------------------------------------------

    def rewrite(self, stop: threading.Event) -> int:
        """Pack archives with many holes, and many small ones, anew; returns the bytes that were packed.

        Raises StoreError. What an archive does not give out is left where it is.
        """
        spent = 0
        for batch in self._batches():
            if stop.is_set() or spent >= self._thrift.budget or not self._tenure.is_held:
                break
            spent += self._repack(batch, stop)
        return spent

    def _batches(self) -> list[list[StoredObject]]:
        """Archives that become one archive together."""
        archives = [each for each in self._index.view().objects.all(HELD)
                    if volume.parse_archive(each.path) and each.live and each.journalled
                    and each.path not in self._left]
        holey = [each for each in archives if each.live < self._thrift.live_ratio * each.payload]
        small = [each for each in archives if each not in holey and each.size < self._thrift.small]
        chosen = holey + (small if len(small) >= self._thrift.merge_from else [])
        batches: list[list[StoredObject]] = []
        room = 0
        for each in chosen:
            if each.live > room or not batches:
                batches.append([])
                room = self._thrift.archive_size
            batches[-1].append(each)
            room -= each.live
        return [batch for batch in batches if len(batch) > 1 or batch[0] in holey]

    def _repack(self, archives: Sequence[StoredObject], stop: threading.Event) -> int:
        items: list[Item] = []
        places: dict[int, Place] = {}
        view = self._index.view()
        for each in archives:
            for content in view.objects.contents_in(each.path):
                item = self._item(view, content)
                found = view.objects.places(content)
                if item is not None and len(found) == 1:
                    items.append(item)
                    places[content] = found[0]
        reader = _ArchiveReader(self._share, places)
        stowed = self._carriage.put_archive(items, stop, source=reader.open, lock=self._lock)
        self._left.update(places[item.content].path for item in stowed.missing)
        log.info("archives packed anew", extra={"archives": len(archives), "contents": len(items)})
        return sum(item.size for item in items)

    @staticmethod
    def _item(view: View, content: int) -> Item | None:
        row = view.contents.get(content)
        if row is None:
            return None
        user = next(iter([*view.nodes.users(content), *view.nodes.holders(content)]), None)
        path = view.nodes.path(user.id) if user is not None else None
        modified = user.modified if user is not None else view.now()
        return Item(content, row.size, path or f"/content {content}", modified, user.id if user is not None else 0)


class _ArchiveReader:
    """Opens contents that lie in archives: from here, else from the archive, which is fetched once as a whole."""

    def __init__(self, share: Share, places: dict[int, Place]) -> None:
        self._share = share
        self._places = places
        self._fetched: tuple[str, bytes] = ("", b"")

    def open(self, item: Item) -> BinaryIO | None:
        """The bytes of a content; None where the archive does not give them out. Raises StoreError."""
        here = open_whole(self._share.index.view(), self._share.files, item.content)
        if here is not None:
            return here
        place = self._places[item.content]
        if self._fetched[0] != place.path:
            try:
                self._fetched = place.path, self._share.store.get_file(place.path)
            except NotFoundError:
                log.error("object missing in the store", extra={"path": place.path, "file": item.path})
                self._fetched = place.path, b""
        stored = self._fetched[1][place.start:place.start + place.length]
        try:
            return io.BytesIO(unpack(part_of(place), stored))
        except DamagedError as error:
            log.error("file damaged in the store", extra={"file": item.path, "problem": str(error)})
            return None
