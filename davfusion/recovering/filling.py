"""Writes into an empty index what the journal of a share says, as if this machine had written that journal."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from davfusion.cache.index import Index, Place, View
from davfusion.cache.index.objects import HELD, LEAVING
from davfusion.cache.node import ROOT_ID, PropertyChange
from davfusion.chunks.image import Image
from davfusion.chunks.lines import ContentLine, NodeLine
from davfusion.chunks.volume import parse_block
from davfusion.recovering.inventory import Inventory, objects_of
from davfusion.recovering.reading import Reading
from davfusion.sync.chunked.scribe import NUMBER, journalled_node
from davfusion.sync.claims import note_share

T = TypeVar("T")

BATCH = 1000
"""Lines written in one transaction."""
MARGIN = 1_000_000
"""Ids left free at least above those of the journal, because some were given out that it does not name any more."""
SPREAD = 2**40
"""Ids begin anywhere in this range above, so that those given out after an earlier recovery are hardly met again."""
USED = 0.25
"""An object of which contents take less counts as if it had been full, so that what is left is packed anew."""


@dataclass(frozen=True, slots=True)
class _Named:
    """An object in which contents lie; sizes in bytes."""

    path: str
    size: int
    live: int
    """Bytes in it that contents take."""
    sha256: str | None
    has_line: bool
    """The journal names the object itself."""


class Filling:
    """Fills one index. For one thread and one use."""

    def __init__(self, index: Index, share: str, show: Callable[[int, int], None]) -> None:
        """`share` is the id in the marker; `show` is told how many lines are done, of how many."""
        self._index = index
        self._share = share
        self._show = show
        self._now = index.now()
        self._done = self._total = 0
        self._mended: frozenset[int] = frozenset()

    def run(self, reading: Reading, inventory: Inventory) -> None:
        """Write it all. The index means nothing before this has returned; memory is that of the image."""
        image = reading.image
        objects = _objects(image, inventory)
        # What a damaged entry named belongs to nothing now; people may still want to look into it.
        orphans = [] if reading.damage else inventory.orphans(image)
        self._mended = reading.mended
        self._total = len(objects) + len(orphans) + len(image.contents) + len(image.nodes)
        self._each(objects, self._put_object)
        self._each(((path, inventory.data[path]) for path in orphans), self._put_orphan)
        self._each(image.contents.values(), self._put_content)
        self._each(image.nodes.values(), self._put_node)
        self._index.write(lambda view: self._finish(view, reading, inventory))

    def _each(self, lines: Iterable[T], put: Callable[[View, T], None]) -> None:
        for batch in _batches(lines):
            def change(view: View, batch: list[T] = batch) -> None:
                for line in batch:
                    put(view, line)
            self._index.write(change)
            self._done += len(batch)
            self._show(self._done, self._total)

    def _put_object(self, view: View, named: _Named) -> None:
        payload = named.live if named.live >= named.size * USED else named.size
        view.objects.insert(named.path, size=named.size, payload=payload, sha256=named.sha256, state=HELD,
                            now=self._now, journalled=named.has_line)

    def _put_orphan(self, view: View, line: tuple[str, int]) -> None:
        """A writer that ended early left it: it goes when the time of grace is over, unless it is written again."""
        path, size = line
        view.objects.insert(path, size=size, payload=size, sha256=parse_block(path), state=LEAVING, now=self._now,
                            journalled=False)

    def _put_content(self, view: View, line: ContentLine) -> None:
        """A content in another place than the journal says is told to it with the next entry."""
        view.journalled.restore_content(line.content, line.size, self._now)
        view.objects.keep(line.content, line.sha256, [
            Place(line.content, number, part.object, part.offset, part.length, part.size, part.method, part.crc32)
            for number, part in enumerate(line.parts)])
        if line.content not in self._mended:
            view.objects.note_journalled([line.content], [])

    def _put_node(self, view: View, line: NodeLine) -> None:
        if line.node == ROOT_ID:
            view.nodes.update(ROOT_ID, modified=line.modified, created=line.created, media_type=line.media_type)
        else:
            view.journalled.restore(journalled_node(line), self._now)
        if line.properties:
            view.properties.change(line.node, [
                PropertyChange(name, xml.encode("utf-8", "surrogateescape")) for name, xml in line.properties.items()])

    def _finish(self, view: View, reading: Reading, inventory: Inventory) -> None:
        _skip_ids(view, reading.image, self._now)
        costs = reading.costs(inventory)
        view.operations.add("journal_entries", costs.entries)
        view.operations.add("journal_bytes", costs.entry_bytes)
        view.operations.add("snapshot_bytes", costs.snapshot_bytes)
        view.operations.set_meta(NUMBER, str(reading.number))
        note_share(view, self._share)


def _objects(image: Image, inventory: Inventory) -> list[_Named]:
    """All objects that contents of the image lie in, or that it names nevertheless."""
    live: dict[str, int] = {}
    for content in image.contents.values():
        for part in content.parts:
            live[part.object] = live.get(part.object, 0) + part.length
    found = []
    for path, size in objects_of(image).items():
        line, used = image.objects.get(path), live.get(path, 0)
        found.append(_Named(path, inventory.data.get(path, used) if size is None else size, used,
                            line.sha256 if line is not None else None, line is not None))
    return found


def _skip_ids(view: View, image: Image, now: float) -> None:
    """Make the index count on from beyond all ids that were ever given out: no id ever means two things."""
    skipped = MARGIN + secrets.randbelow(SPREAD)
    node = max(image.nodes, default=ROOT_ID) + skipped
    view.nodes.insert(id=node, folder=0, modified=now, created=now)
    view.nodes.remove(node)
    content = max(image.contents, default=0) + skipped
    view.journalled.restore_content(content, 0, now)
    view.contents.remove_unreferenced(content)


def _batches(lines: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        yield batch
