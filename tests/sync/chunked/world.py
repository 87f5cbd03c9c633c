"""A chunked share, its engine and its store under attack, beside an account of what clients were promised.

The share must show the account at any time. What the journal says is judged after each entry: a tree without
gaps, each file with bytes that it really had, whole.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from davfusion.cache.errors import TreeError
from davfusion.cache.index import Durability, Index
from davfusion.cache.listing import Freshness
from davfusion.cache.node import PropertyChange
from davfusion.cache.parts import ChunkedLayout
from davfusion.cache.recovery import recover
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.whole import open_whole
from davfusion.chunks import volume
from davfusion.chunks.image import Image, load
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import NodeLine
from davfusion.store.errors import StoreError, TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore, RandomPlan
from davfusion.store.interface import Store
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked.collector import Thrift
from davfusion.sync.chunked.engine import ChunkedEngine
from davfusion.sync.chunked.factory import Packing
from davfusion.sync.claims import SHARE
from tests.model.bucket import Bucket
from tests.sync.chunked import account
from tests.sync.chunked.account import Kept, Tree
from tests.sync.chunked.watched import Blunt, Interrupted, Judged, bytes_of, reached, used_by

UPLOAD_DELAY = 5.0
PACKING = Packing(pack_below=200, archive_size=600, block_size=300)
THRIFT = Thrift(grace=0.0, unfinished=0.0, small=500, merge_from=3, archive_size=600)
SIZES = (0, 10, 10, 60, 350, 1500)
ROUNDS = 30
NAME = "{urn:x}colour"


class Crash(BaseException):
    """The process dies here."""


@dataclass
class Chaos:
    """How often things go wrong; rates are probabilities for one call."""

    failures: float = 0.0
    lost: float = 0.0
    crashes: float = 0.0
    interleaving: float = 0.0


class World:
    """One run. Deterministic: the same calls with the same seed do the same."""

    def __init__(self, kind: str, seed: int, chaos: Chaos) -> None:
        self.random = random.Random(seed)
        self.small = (10**6, 100, 0)[seed % 3]
        self.chaos = chaos
        self.inner: Store = Bucket() if kind == "bucket" else MemoryStore()
        self.judged = Judged(self.inner)
        self.judged.judge, self.judged.needed = self._judge, self._needed
        self.faulty = FaultyStore(self.judged, self._fault)
        self.plan = RandomPlan(self.random, {"before": chaos.failures / 2, "after": chaos.failures / 2})
        outer: Store = Blunt(self.faulty) if kind == "blunt" else self.faulty
        self.store: Store = Interrupted(outer, self._between)
        self.now = 1_000_000.0
        self.calm = False
        self.tree: Tree = {}
        self.acknowledged = 0
        self.journalled = 0
        self._busy = False
        self._writing = False
        self._count = 0
        self._had: dict[int, set[bytes]] = {}
        """All bytes that a node ever had."""
        self._bytes: dict[int, bytes] = {}
        """By content."""
        self._before: dict[int, tuple[int, str]] = {}
        """Nodes that the journal had after its last entry, with their folders and paths there."""
        self._verified: dict[object, bytes] = {}
        self.state = Path(tempfile.mkdtemp(prefix="davfusion-chunked-", dir=_fast_folder()))
        self._open()

    # -- life -------------------------------------------------------------------------------------

    def _open(self) -> None:
        index = Index(self.state / "index.db", durability=Durability.PROCESS_SAFE, clock=lambda: self.now)
        settings = CacheSettings(durability=Durability.PROCESS_SAFE, upload_delay=UPLOAD_DELAY, small=self.small,
                                 freshness=Freshness(revalidate_after=float("inf")))
        self.share = Share(self.state, self.store, settings=settings, index=index, layout=ChunkedLayout())
        assert self.share.flusher is not None
        self.share.flusher.stop()
        recover(index, self.share.files, self.state)
        self._write, index.write = index.write, self._endangered_write  # type: ignore[method-assign]
        self.engine = ChunkedEngine(self.share, PACKING, thrift=THRIFT, random=random.Random(1))

    def restart(self) -> None:
        """Die and come back: only what is in the index, the files and the store is left."""
        drop(self.engine)
        self.share.fetcher.close()
        self.share.index.close()
        self._busy = self._writing = False
        self._open()

    def close(self) -> None:
        drop(self.engine)
        self.share.close()
        shutil.rmtree(self.state, ignore_errors=True)

    @contextlib.contextmanager
    def surviving(self) -> Iterator[None]:
        """Run something that may crash; afterwards there is a running process again."""
        try:
            yield
        except Crash:
            if self._busy:
                raise
            self.restart()
            self.compare()

    def advance(self, seconds: float) -> None:
        self.now += seconds

    # -- what goes wrong --------------------------------------------------------------------------

    def _fault(self, call: Call) -> Fault | None:
        if self.calm:
            return None
        if (call.verb == "store_fileobject" and call.path.count("/") > 1
                and self.random.random() < self.chaos.lost):
            return Fault(lost=True)
        return self.plan(call)

    def _between(self, verb: str, path: str) -> None:
        """Called before and after each request to the store."""
        del path
        self._meanwhile(1.0 if verb != "read" else 0.2)

    def _endangered_write(self, change):  # type: ignore[no-untyped-def]
        if self._writing:
            return self._write(change)
        self._writing = True
        try:
            self._meanwhile(0.25)
            result = self._write(change)
            self._meanwhile(0.25)
        finally:
            self._writing = False
        return result

    def _meanwhile(self, share: float) -> None:
        if self.calm or self._busy:
            return
        if self.random.random() < self.chaos.crashes * share:
            raise Crash
        if self.random.random() < self.chaos.interleaving * share:
            self._busy = True
            try:
                self._something_else()
            finally:
                self._busy = False

    def _something_else(self) -> None:
        """What other threads do meanwhile: clients, or the collector."""
        dice = self.random.random()
        if dice < 0.7:
            self.some_client_operation()
        elif dice < 0.8:
            self.advance(7.0)
        elif (volume := self.engine._volume) is not None:
            if not self.engine._lock.locked():
                self.engine._upkeep.collect()
            volume.collector.condemn()
            with contextlib.suppress(StoreError):
                volume.collector.delete(threading.Event())

    # -- clients ----------------------------------------------------------------------------------

    def some_client_operation(self) -> None:
        """One operation on paths that exist or might."""
        paths = [*self.tree, "/a", "/b", "/a/c"]
        path, other = self.random.choice(paths), self.random.choice(paths)
        match self.random.randrange(10):
            case 0 | 1 | 2 | 8:
                self.put(path)
            case 9:
                folders = [path for path, kept in self.tree.items() if kept.data is None]
                self.put(self.random.choice([*folders, ""]) + self.random.choice(("/a", "/x", "/y")))
            case 3:
                self.delete(path)
            case 4:
                self.move(path, other)
            case 5:
                self.copy(path, other)
            case 6:
                self.describe(path)
            case 7:
                folder = path in self.tree and self.tree[path].data is None
                self.make_folder(path + "/d" if folder else path)

    def put(self, path: str) -> None:
        data = self._token()

        def act() -> None:
            with self.share.receive(len(data)) as incoming:
                incoming.write(data)
                node, _ = self.share.put(path, incoming)
            self._bytes[node.content or 0] = data
        self._act(act, lambda: account.put(self.tree, path, data))

    def make_folder(self, path: str) -> None:
        self._act(lambda: self.share.make_folder(path), lambda: account.make_folder(self.tree, path))

    def delete(self, path: str) -> None:
        self._act(lambda: self.share.delete(path), lambda: account.delete(self.tree, path))

    def move(self, source: str, destination: str) -> None:
        self._act(lambda: self.share.move(source, destination, overwrite=True),
                  lambda: account.move(self.tree, source, destination))

    def copy(self, source: str, destination: str) -> None:
        self._act(lambda: self.share.copy(source, destination, overwrite=True),
                  lambda: account.copy(self.tree, source, destination))

    def describe(self, path: str) -> None:
        """Set a dead property, and a time."""
        value = f'<x:colour xmlns:x="urn:x">{self.random.randrange(100)}</x:colour>'.encode()
        modified = float(self.random.randrange(10**6))
        if path in self.tree:
            self._act(lambda: self.share.change_properties(path, [PropertyChange(NAME, value)], modified=modified),
                      lambda: account.describe(self.tree, path, NAME, value))

    def lock(self, path: str) -> None:
        """An empty file where nothing is, and what is held back for a while."""
        def act() -> None:
            self.share.lock(path, exclusive=True, infinite=False, owner=b"", principal="", timeout=20.0)
        self._act(act, lambda: self.tree if path in self.tree else account.put(self.tree, path, b""))

    def read(self, path: str) -> None:
        """What is read is what was written last, wherever it comes from."""
        with self.surviving():
            kept, node = self.tree.get(path), self.share.find(path)
            assert (node is None) == (kept is None)
            if node is None or kept is None or kept.data is None:
                return
            try:
                with contextlib.closing(self.share.open(node)) as reader:
                    data = reader.read()
            except StoreError:
                return
            assert data == kept.data, f"{path}: {data[:20]!r} instead of {kept.data[:20]!r}"

    def _act(self, operation: Callable[[], object], promise: Callable[[], Tree]) -> None:
        """One operation of a client; what it promised is what the share shows from then on."""
        with self.surviving():
            was, self._busy = self._busy, True
            try:
                operation()
                self.tree = promise()
                self.acknowledged += 1
            except TreeError:
                pass
            finally:
                self._busy = was
            self._note_history()

    # -- the engine and the cache -------------------------------------------------------------------

    def work(self) -> None:
        with self.surviving(), contextlib.suppress(StoreError):
            self.engine.run_due()
        self.compare()

    def tidy(self) -> None:
        with self.surviving():
            self._flush()
        with self.surviving(), contextlib.suppress(StoreError):
            self.engine.tidy()
        self.compare()
        self._check_snapshots()

    def _flush(self) -> None:
        assert self.share.flusher is not None
        self.share.flusher.flush()

    def evict(self) -> None:
        with self.surviving():
            self.share.space.evict(10**12)

    # -- looking ------------------------------------------------------------------------------------

    def visible(self) -> Tree:
        """What clients see."""
        view = self.share.index.view()
        return {path: Kept(None if record.is_folder else self._bytes_of(record.content or 0),
                           view.properties.of(record.id)) for record, path in view.nodes.subtree(1)}

    def compare(self) -> None:
        """The share shows what was promised."""
        different = account.difference(self.visible(), self.tree)
        assert not different, f"the share shows {different}"

    def _bytes_of(self, content: int) -> bytes:
        if content not in self._bytes:
            opened = open_whole(self.share.index.view(), self.share.files, content)
            assert opened is not None, f"content {content} is nowhere"
            with opened:
                self._bytes[content] = opened.read()
        return self._bytes[content]

    def _note_history(self) -> None:
        for record, _ in self.share.index.view().nodes.subtree(1):
            if record.content is not None:
                self._had.setdefault(record.id, set()).add(self._bytes_of(record.content))

    def _token(self) -> bytes:
        self._count += 1
        size = self.random.choice(SIZES)
        if size and self.random.random() < 0.2:
            return (b"common block of many files " * 60)[:size]
        token = f"token {self._count} ".encode()
        return (token * (size // len(token) + 1))[:size] if size else b""

    # -- the store ----------------------------------------------------------------------------------

    def _needed(self) -> set[str]:
        """Objects in which contents lie that the local tree has."""
        view = self.share.index.view()
        return {place.path for record, _ in view.nodes.subtree(1) if record.content is not None
                for place in view.objects.places(record.content)}

    def _judge(self, image: Image) -> None:
        """What somebody would recover from the store now."""
        self.journalled += 1
        nodes = reached(image)
        lost = [line for line in image.nodes.values() if line.node not in nodes and line.node != 1]
        assert not lost, f"nodes hang in the air: {lost}"
        names = [(line.parent, line.name) for line in nodes.values()]
        assert len(names) == len(set(names)), f"a name twice in a folder: {sorted(names)}"
        for line in nodes.values():
            assert line.parent == 1 or nodes[line.parent].folder
            if line.content is None:
                continue
            assert line.content in image.contents, f"the journal does not say where the bytes of {line} lie"
            data = self._stored_bytes(image, line.content)
            assert data in self._had[line.node], f"{line.name}: never had {data[:20]!r}"
        self._judge_removals(nodes, image)

    def _judge_removals(self, nodes: dict[int, NodeLine], image: Image) -> None:
        """What a file replaces stays until the file itself is there. (Clients may be a step ahead of the entry.)"""
        before, self._before = self._before, {line.node: (line.parent, image.path(line.node))
                                              for line in nodes.values()}
        if self.chaos.interleaving:
            return
        now = {path for _, path in self._before.values()}
        for node, (parent, path) in before.items():
            replaced = path in self.tree and self.tree[path].data is not None
            there_still = image.path(parent) == (path.rpartition("/")[0] or "/")
            assert node in nodes or not replaced or not there_still or path in now, f"gone before its time: {path}"

    def _check_snapshots(self) -> None:
        """Snapshot and entries come to the same as all entries."""
        share = self.share.index.view().operations.meta(SHARE)
        if share is None:
            return
        image, _ = load(Journal(self.inner, share))
        assert not image.losses, image.losses
        found = {line.node: (line.parent, line.name, line.content) for line in reached(image).values()}
        assert found == {line.node: (line.parent, line.name, line.content)
                         for line in reached(self.judged.image).values()}, "a snapshot says something else"

    def _stored_bytes(self, image: Image, content: int) -> bytes:
        line = image.contents[content]
        if line.parts not in self._verified:
            self._verified[line.parts] = bytes_of(self.inner, line)
        for part in line.parts:
            assert part.object in image.objects, f"the journal does not name {part.object}"
            assert self.inner.exists(part.object), f"not there any more: {part.object}"
        return self._verified[line.parts]

    # -- the end ------------------------------------------------------------------------------------

    def converge(self) -> None:
        """Let everything settle with nothing going wrong."""
        self.calm = True
        unchanged = 0
        for _ in range(ROUNDS):
            self.advance(1000.0)
            before = self.objects()
            self._flush()
            with contextlib.suppress(TemporaryError):  # a block may be wanted while it is being deleted
                self.engine.run_due()
            self.engine.tidy()
            settled = self.share.index.view().nodes.count_dirty() == (0, 0) and before == self.objects()
            unchanged = unchanged + 1 if settled else 0
            if unchanged == 4:
                return

    def objects(self) -> set[str]:
        """The archives and blocks in the store."""
        listed = [*self._listed(volume.ARCHIVES, recursive=False), *self._listed(volume.BLOCKS, recursive=True)]
        return {path for path in listed if volume.is_data(path)}

    def _listed(self, folder: str, *, recursive: bool) -> list[str]:
        if not self.inner.exists(folder):
            return []
        found: list[str] = []
        for page in self.inner.list_pages(folder):
            for entry in page:
                found += self._listed(entry.path, recursive=True) if entry.is_dir and recursive else [entry.path]
        return found

    def check(self) -> None:
        """What must be true when everything has settled."""
        self.compare()
        view = self.share.index.view()
        assert view.nodes.count_dirty() == (0, 0), f"still waiting: {view.nodes.dirty(10)}"
        image, _ = load(Journal(self.inner, view.operations.meta(SHARE) or ""))
        assert not image.losses, image.losses
        assert {line.path for line in image.objects.values()} == self.objects(), "the journal names other objects"
        assert self.objects() == used_by(image), "unreachable objects stay"
        self._judge(image)
        self._compare_with(image)
        self.share.space.evict(10**12)
        for path in self.tree:
            self.read(path)

    def _compare_with(self, image: Image) -> None:
        view = self.share.index.view()
        shown = {}
        for record, path in view.nodes.subtree(1):
            assert record.problem is None, f"a problem that is over: {record}"
            shown[path] = (record.id, record.modified, record.created, record.media_type,
                           {name: xml.decode() for name, xml in view.properties.of(record.id).items()},
                           None if record.content is None else self._bytes_of(record.content))
        recovered = {
            image.path(line.node): (line.node, line.modified, line.created, line.media_type, dict(line.properties),
                                    None if line.content is None else self._stored_bytes(image, line.content))
            for line in reached(image).values()}
        assert shown == recovered


def drop(engine: ChunkedEngine) -> None:
    """The process of the engine is gone: its threads end, nothing is given back or finished."""
    if engine._volume is not None:
        engine._volume.tenure.abandon()
    engine._carriage.close()


def _fast_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
