"""Contents that lie in parts of objects (the chunked layout): read by range, with neighbours in the same archive."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from davfusion.cache.index import Content, Index, Place, Record
from davfusion.cache.listing import FolderLister, Freshness
from davfusion.cache.source import Source
from davfusion.chunks.archive import unpack
from davfusion.chunks.errors import DamagedError
from davfusion.chunks.lines import Method, Part
from davfusion.chunks.volume import parse_archive
from davfusion.store.errors import ConflictError, NotFoundError, PermanentError
from davfusion.store.interface import Store

log = logging.getLogger("davfusion.cache.parts")

FIRST_WINDOW = 256 << 10
"""Bytes of an archive that are read around a small file the first time."""
NEXT_WINDOW = 16 << 20
"""The same when another file of the archive is asked for soon after."""
SOON = 60.0
"""Seconds."""
REMEMBERED = 256
"""Archives of which the last use is remembered."""
VERIFIED = 8 << 20
"""Bytes up to which a part that is read as a whole is verified before it is used."""
PIECE = 256 << 10


class PartSource:
    """Reads contents by their parts. Thread-safe."""

    def __init__(self, index: Index, store: Store) -> None:
        self._index = index
        self._store = store
        self._lock = threading.Lock()
        self._used: OrderedDict[str, float] = OrderedDict()
        """When an archive was read last; only saves requests."""
        self._turns: dict[str, tuple[threading.Lock, int]] = {}

    def read(self, content: int, start: int, stop: int, *, interrupt: threading.Event | None = None
             ) -> Iterator[bytes]:
        """See `Source`; PermanentError where the store lost or damaged a part."""
        places = self._places(content)
        position, given = 0, start
        for place in places:
            first, last = max(start - position, 0), min(stop - position, place.size)
            if first < last:
                try:
                    for piece in self._read_part(place, first, last, interrupt):
                        given += len(piece)
                        yield piece
                except NotFoundError as error:
                    if self._places(content) == places:
                        raise self._lost(place, error) from error
                    yield from self.read(content, given, stop, interrupt=interrupt)
                    return
            position += place.size

    def read_small(self, content: Content, largest: int) -> dict[int, bytes]:
        """All bytes of a content, and of small ones that lie behind it in the same archive and are not here."""
        places = self._places(content.id)
        if len(places) != 1 or parse_archive(places[0].path) is None:
            return {content.id: b"".join(self.read(content.id, 0, content.size))}
        with self._turn(places[0].path):
            opened = self._index.view().contents.opened(content.id)
            if opened is not None and opened[1] is not None:
                return {content.id: opened[1]}
            return self._read_around(content, places[0], largest)

    def _read_around(self, content: Content, place: Place, largest: int) -> dict[int, bytes]:
        end = place.start + self._window(place.path)
        wanted = [place, *(other for other in self._index.view().objects.absent_from(place.path, place.start, largest)
                           if other.content != content.id and other.start + other.length <= end)]
        last = wanted[-1]
        try:
            data = self._store.get_range(place.path, place.start, max(last.start + last.length, place.start + 1))
        except NotFoundError as error:
            if self._places(content.id) == [place]:
                raise self._lost(place, error) from error
            return {content.id: b"".join(self.read(content.id, 0, content.size))}
        found = {content.id: self._unpacked(place, data[:place.length])}
        for other in wanted[1:]:
            offset = other.start - place.start
            try:
                found[other.content] = unpack(part_of(other), data[offset:offset + other.length])
            except DamagedError as error:
                log.error("file damaged in the store", extra={"content": other.content, "problem": str(error)})
        return found

    def _window(self, path: str) -> int:
        """How much of an archive is read at once: more when it is asked for again."""
        now = time.monotonic()
        with self._lock:
            last = self._used.pop(path, None)
            self._used[path] = now
            while len(self._used) > REMEMBERED:
                self._used.popitem(last=False)
        return NEXT_WINDOW if last is not None and now - last < SOON else FIRST_WINDOW

    def _read_part(self, place: Place, start: int, stop: int, interrupt: threading.Event | None) -> Iterator[bytes]:
        whole = (start, stop) == (0, place.size)
        if place.method == "stored" and not (whole and place.length <= VERIFIED):
            yield from self._store.read(place.path, place.start + start, place.start + stop, interrupt=interrupt)
            return
        pieces = self._store.read(place.path, place.start, place.start + place.length, interrupt=interrupt)
        data = self._unpacked(place, b"".join(pieces))
        for offset in range(start, stop, PIECE):
            yield data[offset:min(offset + PIECE, stop)]

    @staticmethod
    def _unpacked(place: Place, stored: bytes) -> bytes:
        try:
            return unpack(part_of(place), stored)
        except DamagedError as error:
            raise PermanentError(f"{error}. Run `davfusion check --store` to see what is concerned.",
                                 place.path) from error

    def _places(self, content: int) -> list[Place]:
        view = self._index.view()
        places = view.objects.places(content)
        if not places and not view.objects.is_stored(content):
            raise ConflictError("The file was deleted just now")
        return places

    @staticmethod
    def _lost(place: Place, error: NotFoundError) -> PermanentError:
        log.error("object missing in the store", extra={"path": place.path, "problem": str(error)})
        return PermanentError("A part of this file is missing in the store. Run `davfusion check --store` to see "
                              "what is concerned.", place.path)

    @contextmanager
    def _turn(self, path: str) -> Iterator[None]:
        """One reader of an archive at a time: the next finds what the first brought."""
        with self._lock:
            turn, waiting = self._turns.get(path, (threading.Lock(), 0))
            self._turns[path] = turn, waiting + 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, waiting = self._turns.pop(path)
                if waiting > 1:
                    self._turns[path] = turn, waiting - 1


def part_of(place: Place) -> Part:
    """A place as the format has it."""
    return Part(object=place.path, offset=place.start, length=place.length, size=place.size,
                method=cast(Method, place.method), crc32=place.crc32)


class ChunkedLayout:
    """Contents lie in archives and blocks; the index knows the whole tree, since nobody else writes to the store."""

    keeps_attributes = True

    def lister(self, index: Index, store: Store, freshness: Freshness) -> FolderLister:
        """Nothing is ever listed."""
        del index, store, freshness
        return KnownFolders()

    def source(self, index: Index, store: Store) -> Source:
        """Contents are read by their parts."""
        return PartSource(index, store)

    def largest_file(self, store: Store) -> int:
        """Blocks have no need to end."""
        del store
        return sys.maxsize


class KnownFolders:
    """All folders are known."""

    knows_all = True

    def ensure(self, folder: Record) -> bool:
        """It is known already."""
        del folder
        return False

    def refresh(self, folder: int) -> None:
        """It is known already."""
        del folder

    def close(self) -> None:
        """There is nothing to wait for."""
