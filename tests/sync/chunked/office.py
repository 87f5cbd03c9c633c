"""A chunked share with its engine and a store in memory, as one test needs it; time stands still until it is told."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from random import Random

from davfusion.cache.index import Durability, Index
from davfusion.cache.listing import Freshness
from davfusion.cache.node import PropertyChange
from davfusion.cache.parts import ChunkedLayout
from davfusion.cache.share import CacheSettings, Share
from davfusion.chunks.image import Image, load
from davfusion.chunks.journal import Journal
from davfusion.store.interface import Store
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked.collector import Thrift
from davfusion.sync.chunked.cut import Cut, cut
from davfusion.sync.chunked.engine import ChunkedEngine
from davfusion.sync.chunked.factory import Packing
from davfusion.sync.claims import SHARE
from davfusion.sync.engine import EngineSettings
from davfusion.sync.retry import Backoff
from tests.sync.chunked.watched import bytes_of, reached

PACKING = Packing(pack_below=1000, archive_size=4000, block_size=1000, compress=False)
QUICK = EngineSettings(backoff=Backoff(first=0.05, longest=0.2, patient=0.1), pause=0.1)


class Office:
    """What a test works with. `now` is the clock of the index, None for the real one."""

    def __init__(self, state: Path, store: Store | None = None, *, upload_delay: float = 0.0, now: float | None = 1e6,
                 packing: Packing = PACKING, thrift: Thrift | None = None, settings: EngineSettings = QUICK) -> None:
        state.mkdir(exist_ok=True)
        self.store = store or MemoryStore()
        self.now = now
        self.index = (Index(state / "index.db", durability=Durability.PROCESS_SAFE, clock=lambda: self.now or 0.0)
                      if now is not None else Index(state / "index.db", durability=Durability.PROCESS_SAFE))
        cache = CacheSettings(durability=Durability.PROCESS_SAFE, upload_delay=upload_delay,
                              freshness=Freshness(revalidate_after=float("inf")))
        self.share = Share(state, self.store, settings=cache, index=self.index, layout=ChunkedLayout())
        self.engine = ChunkedEngine(self.share, packing, settings, thrift=thrift, random=Random(1))

        self._closed = False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.engine.close()
            self.share.close()

    def save(self, path: str, data: bytes = b"x") -> int:
        """A client saves a file; returns its node."""
        with self.share.receive(len(data)) as incoming:
            incoming.write(data)
            return self.share.put(path, incoming)[0].id

    def folder(self, path: str) -> int:
        return self.share.make_folder(path).id

    def colour(self, path: str, value: str) -> None:
        self.share.change_properties(path, [PropertyChange("{urn:x}colour", value.encode())])

    def read(self, path: str) -> bytes:
        node = self.share.find(path)
        assert node is not None
        with contextlib.closing(self.share.open(node)) as reader:
            return reader.read()

    def store_contents(self) -> None:
        """What waits gets into the store, and the journal is told nothing of it."""
        for archive in self.engine._factory.archives(self.engine._items(self.index.now())):
            self.engine._carriage.put_archive(archive, threading.Event())

    def cut(self) -> Cut:
        with self.index.reading() as view:
            return cut(view)

    def image(self) -> Image:
        """What somebody would recover from the store."""
        return load(Journal(self.store, self.index.view().operations.meta(SHARE) or ""))[0]

    def recovered(self) -> dict[str, bytes | None]:
        """The same, by path, with the bytes of files."""
        image = self.image()
        assert not image.losses
        return {image.path(line.node): None if line.content is None
                else bytes_of(self.store, image.contents[line.content]) for line in reached(image).values()}
