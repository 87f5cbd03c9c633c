"""Compacts the journal: now and then the whole tree is written down as the last entry left it."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from davfusion.cache.index import Index, JournalledNode, View
from davfusion.cache.node import ROOT_ID
from davfusion.chunks import volume
from davfusion.chunks.entry import EntryWriter, Header
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import Line, NodeLine, ObjectLine
from davfusion.store.errors import TemporaryError
from davfusion.store.interface import Store
from davfusion.sync.chunked.cut import as_text, content_line, node_line
from davfusion.sync.chunked.scribe import NUMBER, in_doubt

log = logging.getLogger("davfusion.sync.chunked")

ENTRIES = 256
"""Entries after which a snapshot is written, however small they are."""
LEAST_BYTES = 1 << 20
"""Bytes of entries below which no snapshot is written for their size."""
_SNAPSHOT_BYTES = "snapshot_bytes"


class Snapshots:
    """Writes the snapshots of one share. For one thread at a time."""

    def __init__(self, index: Index, store: Store, *, share: str, host: str, workshop: Path, lock: threading.Lock
                 ) -> None:
        """`lock` is held while the journal is written."""
        self._index = index
        self._lock = lock
        self._journal = Journal(store, share)
        self._share = share
        self._host = host
        self._workshop = workshop

    def due(self) -> bool:
        """Whether the entries since the last snapshot cost more than a new one."""
        counters = self._index.view().operations.counters()
        least = max(LEAST_BYTES, counters.get(_SNAPSHOT_BYTES, 0))
        return counters.get("journal_entries", 0) >= ENTRIES or counters.get("journal_bytes", 0) >= least

    def write(self) -> int | None:
        """Write one and remove what it replaces; returns its number. Raises StoreError.

        None when the index does not show what exactly the journal says, since an entry is in doubt or news wait.
        """
        with tempfile.TemporaryFile(dir=self._workshop) as file:
            with self._moment() as view:
                if in_doubt(view) or view.objects.any_moved():
                    return None
                number = int(view.operations.meta(NUMBER) or 0)
                counters = view.operations.counters()
                self._write(file, number, view)
            size = file.tell()
            self._journal.write_snapshot(number, file)
        if number not in self._journal.head().snapshot_numbers:
            raise TemporaryError("The store does not show the snapshot that it said it had stored",
                                 volume.snapshot_path(number))
        self._journal.prune(number)
        self._index.write(lambda view: _note_written(view, counters, size))
        log.info("snapshot written", extra={"number": number, "bytes": size})
        return number

    @contextlib.contextmanager
    def _moment(self) -> Iterator[View]:
        """The index as it is at a moment at which no entry is being written; the lock is held for that moment only."""
        with contextlib.ExitStack() as stack:
            with self._lock:
                view = stack.enter_context(self._index.reading())
                view.operations.meta(NUMBER)  # a transaction begins with what it reads first
            yield view

    def _write(self, file: BinaryIO, number: int, view: View) -> None:
        writer = EntryWriter(file, Header(
            kind="snapshot", number=number, share=self._share, writer=self._host, id=uuid.uuid4().hex,
            written=view.now()))
        for line in snapshot_lines(view):
            writer.add(line)
        writer.finish()


def snapshot_lines(view: View) -> Iterator[Line]:
    """All that the journal says, as this view shows it; the view must be of one moment.

    Times and properties are those of now; where they changed, the next entry says the same.
    """
    for each in view.objects.journalled():
        yield ObjectLine(path=each.path, size=each.size, sha256=each.sha256)
    for content in view.objects.all_journalled():
        yield content_line(view, *content)
    root = view.nodes.get(ROOT_ID)
    line = node_line(view, root, view.properties.of(ROOT_ID)) if root is not None else None
    if line is not None:
        yield line
    properties = _Properties(view)
    folders = _Reached(view)
    for node in view.journalled.all():
        if node.node != ROOT_ID and folders.has(node.parent):
            yield _line(node, properties.of(node.node))


class _Reached:
    """Tells which folders hang on the root in the journal: what lay below one that it has no more is gone with it."""

    def __init__(self, view: View) -> None:
        self._parents = dict(view.journalled.folders())
        self._known = {ROOT_ID: True, 0: False}

    def has(self, folder: int) -> bool:
        """Whether the folder and all above it are in the journal."""
        chain: list[int] = []
        while folder not in self._known:
            chain.append(folder)
            folder = self._parents.get(folder, 0)
        self._known.update(dict.fromkeys(chain, self._known[folder]))
        return self._known[folder]


def _line(node: JournalledNode, properties: dict[str, bytes]) -> NodeLine:
    return NodeLine(
        node=node.node, parent=node.parent, name=node.name, folder=node.is_folder, content=node.content,
        modified=node.modified, created=node.created, media_type=node.media_type,
        properties={name: as_text(xml) for name, xml in properties.items()})


class _Properties:
    """Walks through all properties beside the nodes, both by node id."""

    def __init__(self, view: View) -> None:
        self._rows = view.journalled.all_properties()
        self._next = next(self._rows, None)

    def of(self, node: int) -> dict[str, bytes]:
        """The properties of a node; nodes are asked for by growing id."""
        found: dict[str, bytes] = {}
        while self._next is not None and self._next[0] <= node:
            if self._next[0] == node:
                found[self._next[1]] = bytes(self._next[2])
            self._next = next(self._rows, None)
        return found


def _note_written(view: View, counters: dict[str, int], size: int) -> None:
    view.operations.add("journal_entries", -counters.get("journal_entries", 0))
    view.operations.add("journal_bytes", -counters.get("journal_bytes", 0))
    view.operations.add(_SNAPSHOT_BYTES, size - counters.get(_SNAPSHOT_BYTES, 0))
