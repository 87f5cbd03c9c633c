"""Puts contents into objects of the store: archives of small ones, blocks of large ones.

An object is noted before it is written, so that one that a crash left behind is found. The contents in it are noted
when it is there. The journal, which makes them count, is somebody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from davfusion.cache.index import Place, View
from davfusion.cache.index.objects import DELETING, WRITING
from davfusion.cache.share import Share
from davfusion.cache.whole import open_whole
from davfusion.chunks import volume
from davfusion.chunks.archive import ArchiveWriter
from davfusion.chunks.blocks import split
from davfusion.chunks.errors import ArchiveFullError
from davfusion.chunks.lines import Part
from davfusion.store.errors import AlreadyExistsError, NotFoundError, TemporaryError, TransferInterruptedError
from davfusion.store.interface import IfAbsent, Store
from davfusion.sync.chunked.factory import Item, Packing
from davfusion.sync.statistics import Statistics

log = logging.getLogger("davfusion.sync.chunked")

_PIECE = 1 << 20
AHEAD = 8
"""Blocks that are on their way at the same time at most, of all files together."""
SLOT_CHECK = 0.2
"""Seconds after which who waits to read a block looks whether it is still wanted."""
BATCH = 200
"""Contents noted in one transaction."""

OpenContent = Callable[[Item], BinaryIO | None]
"""The bytes of a content; None when it is not wanted any more."""
EMPTY = hashlib.sha256().hexdigest()


@dataclass(frozen=True, slots=True)
class Packed:
    """A content as it lies in an archive."""

    content: int
    sha256: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Stowed:
    """What became of contents that were to go into the store."""

    kept: int = 0
    """How many are there now."""
    missing: tuple[Item, ...] = ()
    """Those whose bytes are not here, although a file has them or had them a moment ago."""


class Carriage:
    """Writes objects. Thread-safe."""

    def __init__(self, share: Share, packing: Packing, statistics: Statistics, *, workshop: Path) -> None:
        """`workshop` is a folder for archives that are being made."""
        self._share = share
        self._index = share.index
        self._store: Store = share.store
        self._packing = packing
        self._statistics = statistics
        self._workshop = workshop
        self._blocks = ThreadPoolExecutor(AHEAD, thread_name_prefix="block")
        self._slots = threading.BoundedSemaphore(AHEAD)
        """One for each block in memory."""
        self._wanted: Counter[str] = Counter()
        self._wanted_lock = threading.Lock()

    def wants(self, path: str) -> bool:
        """Whether a content that is on its way is to lie in the object."""
        with self._wanted_lock:
            return path in self._wanted

    def _want(self, path: str) -> None:
        with self._wanted_lock:
            self._wanted[path] += 1

    def _want_no_more(self, paths: Iterable[str]) -> None:
        with self._wanted_lock:
            self._wanted.subtract(paths)
            self._wanted += Counter()  # drops what nobody wants

    def close(self) -> None:
        """Wait for blocks under way."""
        self._blocks.shutdown(wait=True, cancel_futures=True)

    # -- archives -----------------------------------------------------------------------------------

    def put_archive(self, items: Sequence[Item], interrupt: threading.Event, *, source: OpenContent | None = None,
                    lock: threading.Lock | None = None) -> Stowed:
        """Put contents into the store as one archive. Raises StoreError, with the effect unknown.

        `source` opens them, by default what is here; `lock` is held while they are noted at their new places.
        """
        path = volume.archive_path(volume.new_archive_id())
        self._want(path)
        try:
            with tempfile.TemporaryFile(dir=self._workshop) as file:
                packed, missing = self._pack(items, path, file, source or self._here)
                if any(each.places for each in packed):
                    self._index.write(lambda view: view.objects.begin(path, view.now()))
                    self._send(file, path, sum(place.length for each in packed for place in each.places), interrupt)
            with lock or contextlib.nullcontext():
                return Stowed(self._note(packed), tuple(missing))
        finally:
            self._want_no_more([path])

    def _note(self, packed: Sequence[Packed]) -> int:
        kept = 0
        for start in range(0, len(packed), BATCH):
            batch = packed[start:start + BATCH]
            kept += self._index.write(lambda view, batch=batch: _keep(view, batch))  # type: ignore[misc]
        return kept

    def _pack(self, items: Sequence[Item], path: str, file: BinaryIO, source: OpenContent
              ) -> tuple[list[Packed], list[Item]]:
        writer = ArchiveWriter(file, path, compress=self._packing.compress)
        packed: list[Packed] = []
        missing: list[Item] = []
        for item in items:
            opened = source(item)
            if opened is None:
                missing.append(item)
                continue
            with opened:
                data = opened.read()
            if len(data) != item.size:
                log.error("file in the cache is not whole", extra={"path": item.path, "size": len(data)})
                missing.append(item)
                continue
            if not data:
                packed.append(Packed(item.content, EMPTY, ()))
                continue
            digest = hashlib.sha256(data).hexdigest()
            try:
                part = writer.add(item.content, item.path, item.modified, data, sha256=digest)
            except ArchiveFullError:
                break  # the rest waits for the next archive
            packed.append(Packed(item.content, digest, (_place(item.content, 0, part),)))
        writer.finish()
        return packed, missing

    def _send(self, file: BinaryIO, path: str, payload: int, interrupt: threading.Event) -> None:
        started = time.monotonic()
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
        length = file.tell()
        file.seek(0)
        self._store.store_fileobject(file, path, condition=IfAbsent(), interrupt=interrupt)
        self._see(path, length)
        self._index.write(lambda view: view.objects.written(
            path, size=length, payload=payload, sha256=digest.hexdigest(), now=view.now()))
        self._statistics.uploaded(length, started, time.monotonic())

    def _here(self, item: Item) -> BinaryIO | None:
        return open_whole(self._index.view(), self._share.files, item.content)

    # -- blocks -------------------------------------------------------------------------------------

    def put_blocks(self, item: Item, interrupt: threading.Event) -> Stowed:
        """Put a content into the store as blocks, those that are not there yet.

        What was sent before an error or a crash is not sent again. Raises StoreError.
        """
        opened = self._here(item)
        if opened is None:
            return Stowed(missing=(item,))
        places: list[Place] = []
        try:
            with opened:
                digest = self._send_blocks(item, opened, places, interrupt)
            return Stowed(self._note([Packed(item.content, digest, tuple(places))]))
        finally:
            self._want_no_more(place.path for place in places)

    def _send_blocks(self, item: Item, opened: BinaryIO, places: list[Place], interrupt: threading.Event) -> str:
        """Have all blocks in the store and add them to `places`; returns the SHA-256 of the whole."""
        whole = hashlib.sha256()
        under_way: list[Future[None]] = []
        try:
            for number, (start, stop) in enumerate(split(item.size, self._packing.block_size)):
                place, future = self._send_block(item, number, opened, stop - start, whole, interrupt)
                places.append(place)
                under_way.append(future)
                if len(under_way) >= AHEAD:
                    under_way.pop(0).result()
            for future in under_way:
                future.result()
        finally:
            for future in under_way:
                future.cancel()
        return whole.hexdigest()

    def _send_block(self, item: Item, number: int, opened: BinaryIO, length: int, whole: hashlib._Hash,
                    interrupt: threading.Event) -> tuple[Place, Future[None]]:
        """Read the next block, count it in `whole`, and let it travel."""
        self._take_slot(interrupt, item)
        try:
            data = opened.read(length)
            if len(data) != length:
                raise TemporaryError("The content is not here any more", item.path)
            whole.update(data)
            path = volume.block_path(hashlib.sha256(data).hexdigest())
            self._want(path)
            future = self._blocks.submit(self._put_block, path, data, interrupt)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(lambda _: self._slots.release())
        return Place(item.content, number, path, 0, length, length, "stored", zlib.crc32(data)), future

    def _take_slot(self, interrupt: threading.Event, item: Item) -> None:
        """Wait until one block more may be in memory. Raises TransferInterruptedError."""
        taken = False
        while not taken:
            if interrupt.is_set():
                raise TransferInterruptedError("The file changed, or davfusion stops", item.path)
            taken = self._slots.acquire(timeout=SLOT_CHECK)

    def _put_block(self, path: str, data: bytes, interrupt: threading.Event) -> None:
        """Have one block in the store. One that is known to be there is not sent; one of unknown fate is looked for."""
        known = self._index.view().objects.get(path)
        if known is not None and known.state == DELETING:
            raise TemporaryError("A block is just being removed from the store", path, retry_after=1.0)
        if known is not None and known.state != WRITING:
            return
        if known is None or not self._is_there(path, len(data)):
            self._index.write(lambda view: view.objects.begin(path, view.now()))
            started = time.monotonic()
            try:
                self._store.store_fileobject(io.BytesIO(data), path, condition=IfAbsent(), interrupt=interrupt)
            except AlreadyExistsError:
                log.debug("block there already", extra={"path": path})  # by an earlier try, or another file
            self._see(path, len(data))
            self._statistics.uploaded(len(data), started, time.monotonic())
        self._index.write(lambda view: view.objects.written(
            path, size=len(data), payload=len(data), sha256=volume.parse_block(path), now=view.now()))

    def _see(self, path: str, size: int) -> None:
        """An object counts once the store has shown it, so that one that it lost is sent again."""
        if not self._is_there(path, size):
            raise TemporaryError("The store does not show what it said that it had stored", path, retry_after=1.0)

    def _is_there(self, path: str, size: int) -> bool:
        try:
            return self._store.get_bytes(path) == size
        except NotFoundError:
            return False


def _place(content: int, number: int, part: Part) -> Place:
    return Place(content, number, part.object, part.offset, part.length, part.size, part.method, part.crc32)


def _keep(view: View, packed: Sequence[Packed]) -> int:
    """Note where contents lie, if all the objects stay; returns how many are known still."""
    if not view.objects.are_there({place.path for each in packed for place in each.places}):
        raise TemporaryError("An object is being removed from the store", retry_after=1.0)
    return sum(view.objects.keep(each.content, each.sha256, each.places) for each in packed)
