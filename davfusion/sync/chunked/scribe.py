"""Writes the journal of one share and records in the index what the journal says.

An entry is noted as pending before it is sent. Whatever becomes of the answer, the number that it was sent under
tells afterwards whether it was written: then its lines are facts, else the cut is made anew. Until that is known
no content that the entry may name is forgotten (`Contents.unreferenced`).
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from davfusion.cache.index import Index, JournalledNode, View
from davfusion.cache.node import ROOT_ID
from davfusion.chunks import volume
from davfusion.chunks.entry import EntryWriter, Header
from davfusion.chunks.errors import DamagedError, EntryTakenError
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import ContentLine, Line, NodeLine, ObjectLine, ReleaseLine, RemovalLine
from davfusion.store.errors import NotFoundError, TemporaryError
from davfusion.store.interface import Store
from davfusion.sync.chunked.cut import Cut, content_line, node_line

log = logging.getLogger("davfusion.sync.chunked")

BATCH = 200
"""Lines recorded in one transaction."""
NUMBER = "journal_number"
"""Fact about the index: the number of the last journal entry that it has recorded."""
PENDING = "journal_pending"
"""Fact about the index: number and ids of the entries that were sent under it and of which no end is known, or
nothing."""


class Scribe:
    """Writes one journal. For one thread at a time; from the cut to the end of `write` nobody may move or forget a
    content."""

    def __init__(self, index: Index, store: Store, *, share: str, host: str, workshop: Path) -> None:
        """`share` is the id of the marker, `workshop` a folder for entries that are being made."""
        self._index = index
        self._store = store
        self._journal = Journal(store, share)
        self._share = share
        self._host = host
        self._workshop = workshop

    @property
    def is_in_doubt(self) -> bool:
        """Whether an entry was sent of which it is not known whether it was written, or not all is recorded yet."""
        return in_doubt(self._index.view())

    def number(self) -> int:
        """The number of the last entry that the index has recorded; 0 for none."""
        return int(self._index.view().operations.meta(NUMBER) or 0)

    def catch_up(self) -> None:
        """Record entries that were written and not recorded.

        Raises EntryTakenError when they are somebody else's; DamagedError when the store has lost the last ones.
        """
        known = self.number()
        last = self._journal.head().last_number
        if last < known:
            raise DamagedError(volume.journal_path(known), "the end of the journal is missing, from this entry or an "
                               "earlier one on; put the objects back, or check that the address is right")
        while known < last:
            known += 1
            self._adopt(known)

    def write(self, cut: Cut) -> bool:
        """Write a cut as the next entry; False when an earlier try of ours turns out to have its number.

        Raises EntryTakenError when somebody else writes to the share; StoreError, with the effect unknown.
        """
        number = self.number() + 1
        entry = uuid.uuid4().hex
        self._index.write(lambda view: _note_pending(view, number, entry))
        with tempfile.TemporaryFile(dir=self._workshop) as file:
            writer = EntryWriter(file, Header(
                kind="journal", number=number, share=self._share, writer=self._host, id=entry,
                written=self._index.now()))
            for line in cut.lines():
                writer.add(line)
            writer.finish()
            size = file.tell()
            try:
                self._journal.append(number, file, entry)
            except EntryTakenError:
                self._adopt(number)
                return False
        self._see(volume.journal_path(number), size)
        self._record(number, cut.lines(), size)
        log.info("journal written", extra={"number": number, "nodes": len(cut.nodes), "removals": len(cut.removals)})
        return True

    def _see(self, path: str, size: int) -> None:
        """An entry counts once the store has shown it, so that one that it lost is written again."""
        try:
            shown = self._store.get_bytes(path)
        except NotFoundError:
            shown = None
        if shown != size:
            raise TemporaryError("The store does not show what it said that it had stored", path, retry_after=1.0)

    def _adopt(self, number: int) -> None:
        """Record an entry that is in the store, if it is ours."""
        header, lines = self._journal.read(number)
        if header.id not in _pending(self._index.view(), number):
            raise EntryTakenError(number, header.writer, header.id)
        self._record(number, list(lines), 0)
        log.info("journal entry found written", extra={"number": number})

    def _record(self, number: int, lines: Iterable[Line], size: int) -> None:
        for batch in _batches(lines):
            self._index.write(lambda view, batch=batch: record_facts(view, batch))  # type: ignore[misc]
        self._index.write(lambda view: _note_recorded(view, number, size))


def record_facts(view: View, lines: Iterable[Line]) -> None:
    """The journal says this now. Recorded whatever happened to the local tree meanwhile; again does no harm."""
    for line in lines:
        match line:
            case NodeLine():
                _record_node(view, line)
            case RemovalLine():
                view.journalled.note_removed(line.node)
            case ContentLine():
                _record_content(view, line)
            case ObjectLine():
                view.objects.note_journalled([], [line.path])
            case ReleaseLine():
                view.objects.note_released([line.path], view.now())


def journalled_node(line: NodeLine) -> JournalledNode:
    """What the index keeps of a line about a node."""
    return JournalledNode(line.node, line.parent, line.name, line.folder, line.content, line.modified, line.created,
                          line.media_type)


def _record_content(view: View, line: ContentLine) -> None:
    """The journal says where a content lay; if it lies elsewhere by now, that is still to be told."""
    if content_line(view, line.content, line.size, line.sha256).parts == line.parts:
        view.objects.note_journalled([line.content], [])


def _record_node(view: View, line: NodeLine) -> None:
    if view.nodes.get(line.node) is None:
        view.journalled.note_unknown(journalled_node(line), view.now())
        return
    if line.node != ROOT_ID:
        view.journalled.note(journalled_node(line))
    record = view.nodes.get(line.node)
    if record is not None and record.scattered and (
            node_line(view, record, view.properties.of(line.node)) == line):
        view.journalled.settle(line.node)


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _pending(view: View, number: int) -> list[str]:
    noted, *entries = (view.operations.meta(PENDING) or "0").split()
    return entries if int(noted) == number else []


def in_doubt(view: View) -> bool:
    """Whether an entry was sent, and not all of what it says, if it was written, is recorded yet."""
    return bool(view.operations.meta(PENDING))


def _note_pending(view: View, number: int, entry: str) -> None:
    view.operations.set_meta(PENDING, " ".join([str(number), *_pending(view, number), entry]))


def _note_recorded(view: View, number: int, size: int) -> None:
    view.operations.set_meta(NUMBER, str(number))
    view.operations.set_meta(PENDING, "")
    view.operations.add("journal_bytes", size)
    view.operations.add("journal_entries", 1)
