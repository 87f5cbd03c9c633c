"""A share as it lies in its store, in either layout, read from the store alone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from davfusion.chunks.archive import unpack
from davfusion.chunks.image import Image, Progress, load
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import ROOT, ContentLine, NodeLine, Part
from davfusion.chunks.marker import Marker
from davfusion.chunks.volume import parse_archive
from davfusion.store.errors import NotFoundError
from davfusion.store.interface import Store

ARCHIVES_AT_HAND = 4
"""Archives of which the bytes are kept while their members are read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of a share; sizes in bytes, times in seconds since the epoch."""

    path: str
    is_folder: bool
    size: int
    modified: float
    created: float | None = None
    media_type: str | None = None
    properties: dict[str, bytes] = field(default_factory=dict)
    version: str | None = None
    """Names the bytes, where they can be read under that condition."""
    content: int | None = None


class ShareInStore(Protocol):
    """Everything that lies in a store. Safe for several threads once the entries are listed."""

    def entries(self) -> Iterator[Entry]:
        """All of it, a folder before what is in it; the root only if it has properties. Raises StoreError."""

    def read(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a file. Raises StoreError, DamagedError."""


class PlainShare:
    """Each file is an object."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def entries(self) -> Iterator[Entry]:
        """See `ShareInStore`."""
        pending = ["/"]
        while pending:
            folder = pending.pop()
            found = sorted((entry for page in self._store.list_pages(folder) for entry in page),
                           key=lambda entry: entry.path)
            for entry in found:
                if entry.is_dir:
                    pending.append(entry.path)
                yield Entry(entry.path, entry.is_dir, entry.bytes, entry.modified, version=entry.version)

    def read(self, entry: Entry) -> Iterator[bytes]:
        """See `ShareInStore`; ConflictError when the file was changed since it was listed."""
        return self._store.read(entry.path, if_version=entry.version)


class ChunkedShare:
    """Files are parts of archives and blocks; the journal says which."""

    def __init__(self, store: Store, marker: Marker, progress: Progress = lambda _done, _total: None) -> None:
        """Reads the journal. Raises StoreError, DamagedError, FormatError."""
        self._store = store
        self.image: Image = load(Journal(store, marker.share), progress)[0]
        self._lock = threading.Lock()
        self._archives: OrderedDict[str, bytes] = OrderedDict()

    def entries(self) -> Iterator[Entry]:
        """See `ShareInStore`."""
        children: dict[int, list[NodeLine]] = {}
        for line in self.image.nodes.values():
            if line.node != ROOT:
                children.setdefault(line.parent, []).append(line)
        root = self.image.nodes.get(ROOT)
        if root is not None and root.properties:
            yield self._entry(root, "/")
        pending = [(ROOT, "")]
        while pending:
            folder, prefix = pending.pop()
            for line in sorted(children.get(folder, ()), key=lambda line: line.name):
                path = f"{prefix}/{line.name}"
                if line.folder:
                    pending.append((line.node, path))
                yield self._entry(line, path)

    def read(self, entry: Entry) -> Iterator[bytes]:
        """See `ShareInStore`."""
        for part in self._content(entry.content).parts if entry.size else ():
            yield unpack(part, self._stored(part))

    def _entry(self, line: NodeLine, path: str) -> Entry:
        return Entry(
            path, line.folder, 0 if line.folder else self._content(line.content).size, line.modified, line.created,
            line.media_type, {name: xml.encode("utf-8", "surrogateescape") for name, xml in line.properties.items()},
            content=line.content)

    def _content(self, content: int | None) -> ContentLine:
        return self.image.contents[content or 0]

    def _stored(self, part: Part) -> bytes:
        if parse_archive(part.object) is None:
            return self._store.get_range(part.object, part.offset, part.offset + part.length)
        return self._archive(part.object)[part.offset:part.offset + part.length]

    def _archive(self, path: str) -> bytes:
        """A whole archive: its members are wanted one after the other."""
        with self._lock:
            data = self._archives.pop(path, None)
            if data is None:
                try:
                    data = self._store.get_file(path)
                except NotFoundError:
                    data = b""  # its members are found damaged
            self._archives[path] = data
            while len(self._archives) > ARCHIVES_AT_HAND:
                self._archives.popitem(last=False)
            return data
