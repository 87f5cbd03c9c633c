"""What the tests of the cache do to a share and to its store."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from davfusion.cache import synced
from davfusion.cache.index import Kind
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.cache.whole import open_whole
from davfusion.store.interface import Metadata, Store, split
from davfusion.store.wrapper import WrappedStore


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def store_bytes(store: Store, path: str, data: bytes) -> Metadata:
    """Somebody else writes into the store."""
    return store.store_fileobject(io.BytesIO(data), path)


def save(share: Share, path: str, data: bytes, **options: object) -> Node:
    """A client saves a file."""
    with share.receive(len(data)) as incoming:
        incoming.write(data)
        return share.put(path, incoming, **options)[0]  # type: ignore[arg-type]


def read(share: Share, path: str) -> bytes:
    """A client reads a file."""
    node = share.find(path)
    assert node is not None and not node.is_folder, path
    with share.open(node) as reader:
        return b"".join(iter(lambda: reader.read(300_000), b""))


def whole_bytes(share: Share, content: int) -> bytes:
    """The bytes of a content that is wholly here, wherever it lies."""
    opened = open_whole(share.index.view(), share.files, content)
    assert opened is not None
    with opened:
        return opened.read()


def names(share: Share, path: str = "/") -> list[str]:
    """A client lists a folder."""
    folder = share.find(path)
    assert folder is not None and folder.is_folder, path
    return [node.name for node in share.children(folder)]


def upload(share: Share, path: str, *, confirmed: bool = False) -> None:
    """Carry one file to where it belongs in the store, folders above it first, and record it."""
    begin, end = upload_in_steps(share, path, confirmed=confirmed)
    begin()
    end()


def upload_in_steps(share: Share, path: str, *, confirmed: bool = False
                    ) -> tuple[Callable[[], Metadata], Callable[[], None]]:
    """The same in two steps: write the object (its bytes as they are now); record it."""
    folder = split(path)[0]
    if folder != "/":
        make_synced(share, folder)
    view = share.index.view()
    record = view.nodes.resolve(path)
    assert record is not None and record.content is not None and record.parent is not None
    content, parent = record.content, record.parent
    data = whole_bytes(share, content)
    written: list[Metadata] = []
    operation = share.index.write(lambda view: view.operations.begin(Kind.WRITE, path, record.id, content))

    def begin() -> Metadata:
        written.append(store_bytes(share.store, path, data))
        return written[0]

    def end() -> None:
        def change(view):  # type: ignore[no-untyped-def]
            synced.wrote_file(view, record.id, path=path, parent=parent, content=content,
                              version=written[0].version, old_remains=False,
                              folders=share.store.capabilities.folders, confirmed=confirmed)
            view.operations.finish(operation, view.now())
        share.index.write(change)

    return begin, end


def make_synced(share: Share, path: str) -> None:
    """Make a folder in the store, and those above it, and record it."""
    above = split(path)[0]
    if above != "/":
        make_synced(share, above)
    record = share.index.view().nodes.resolve(path)
    assert record is not None and record.parent is not None
    if record.synced_path == path:
        return
    share.store.create_directory(path)
    parent = record.parent
    share.index.write(lambda view: synced.made_folder(
        view, record.id, path=path, parent=parent, marker=None, folders=True))


def remove_synced(share: Share, path: str) -> None:
    """Remove an object from the store and record it."""
    operation = share.index.write(lambda view: view.operations.begin(Kind.CLEAR, path, 0))
    share.store.delete(path, is_dir=False)

    def change(view):  # type: ignore[no-untyped-def]
        synced.removed(view, path, folders=True)
        view.operations.finish(operation, view.now())
    share.index.write(change)


class GatedStore(WrappedStore):
    """A store whose requests of one kind wait at a gate, after they took their answer."""

    def __init__(self, store: Store, verb: str) -> None:
        super().__init__(store)
        self._verb = verb
        self.arrived = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def _pass(self, verb: str) -> None:
        if verb == self._verb:
            self.arrived.set()
            assert self.gate.wait(30), "nobody opened the gate"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let requests wait until the end of the block."""
        self.gate.clear()
        self.arrived.clear()
        try:
            yield
        finally:
            self.gate.set()

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        pages = list(super().list_pages(directory, recursive=recursive))
        self._pass("list_pages")
        yield from pages

    def read(self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
             interrupt: threading.Event | None = None) -> Iterator[bytes]:
        pieces = super().read(path, start, stop, if_version=if_version, interrupt=interrupt)
        self._pass("read")
        yield from pieces
