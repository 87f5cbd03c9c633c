"""A share, its engine and its store under attack, beside a simple account of what must be true at the end.

Two clients work on the share and an editor on the store itself, while calls fail, effects get lost,
listings are stale, operations interleave and the process dies. The account is kept in *tokens*: every
write has bytes of its own, so that where they show up says what became of the write.

    must      tokens that may not be missing at the end
    dead      tokens that an acknowledged operation replaced or deleted
    touched   tokens that the editor replaced or deleted in the store, where either outcome is fine
    folders   paths of the folders that clients left
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from davfusion.cache.contents import SMALL
from davfusion.cache.errors import TreeError
from davfusion.cache.index import Durability, Index, Record
from davfusion.cache.listing import Freshness
from davfusion.cache.recovery import recover
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.whole import open_whole
from davfusion.store.errors import StoreError
from davfusion.store.faults import Call, Fault, FaultyStore, RandomPlan
from davfusion.store.interface import Store
from davfusion.store.memory import MemoryStore
from davfusion.store.wrapper import WrappedStore
from davfusion.sync.engine import Engine
from davfusion.sync.upkeep import LATE_MEMORY
from tests.model.bucket import MARKER, Bucket

UPLOAD_DELAY = 5.0
REVALIDATE_AFTER = 20.0
CONVERGE_ROUNDS = 30
LATEST = LATE_MEMORY - 100.0
"""Seconds by the clock after which what is late has come."""


class Crash(BaseException):
    """The process dies here."""


@dataclass
class Chaos:
    """How often things go wrong; rates are probabilities for one call."""

    failures: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    stale: float = 0.0
    crashes: float = 0.0
    interleaving: float = 0.0
    editor: bool = False


@dataclass
class Account:
    must: set[bytes] = field(default_factory=set)
    dead: set[bytes] = field(default_factory=set)
    touched: set[bytes] = field(default_factory=set)
    written: set[bytes] = field(default_factory=lambda: {b""})
    folders: set[str] = field(default_factory=set)


class World:
    """One run. Deterministic: the same calls with the same seed do the same."""

    def __init__(self, kind: str, seed: int, chaos: Chaos) -> None:
        self.random = random.Random(seed)
        self.small = (SMALL, 100, 0)[seed % 3]
        """Contents lie in the index, in files, or some here and some there."""
        self.chaos = chaos
        self.inner: MemoryStore | Bucket = Bucket() if kind == "bucket" else MemoryStore()
        self.account = Account()
        self.now = 1_000_000.0
        self.calm = False
        self.acting = 0
        self.acknowledged = 0
        self._inside_request = False
        self._doubtful: set[bytes] | None = None
        self._count = 0
        self._versions: dict[str, bytes] = {}
        self._tokens: dict[int, bytes] = {}
        self._delivered = self.now
        self.state = Path(tempfile.mkdtemp(prefix="davfusion-model-", dir=_fast_folder()))
        self.faulty = FaultyStore(self.inner, self._fault, remember=chaos.stale > 0)
        self.plan = RandomPlan(
            self.random, {"before": chaos.failures / 2, "after": chaos.failures / 2, "late": chaos.late})
        self.store: Store = Interleaved(self.faulty, self._between)
        self._open()

    # -- life -------------------------------------------------------------------------------------

    def _open(self) -> None:
        index = Index(self.state / "index.db", durability=Durability.PROCESS_SAFE, clock=lambda: self.now)
        settings = CacheSettings(
            durability=Durability.PROCESS_SAFE, upload_delay=UPLOAD_DELAY, small=self.small,
            freshness=Freshness(revalidate_after=REVALIDATE_AFTER, cold_deadline=30.0, stale_deadline=30.0))
        self.share = Share(self.state, self.store, settings=settings, index=index)
        if self.share.flusher is not None:
            self.share.flusher.stop()
        recover(index, self.share.files, self.state)
        self._write, index.write = index.write, self._maybe_crashing_write  # type: ignore[method-assign]
        self.engine = Engine(self.share, random=random.Random(1))

    def restart(self) -> None:
        """Die and come back: only what is in the index and the files is left."""
        self.share.lister.close()
        self.share.fetcher.close()
        self.share.index.close()
        self._open()

    def close(self) -> None:
        self.share.close()
        shutil.rmtree(self.state, ignore_errors=True)

    @contextlib.contextmanager
    def surviving(self) -> Iterator[None]:
        """Run something that may crash; afterwards there is a running process again."""
        try:
            yield
        except Crash:
            if self._inside_request:
                raise
            self.acting = 0
            self.restart()
            if self._doubtful is not None:
                before, self._doubtful = self._doubtful, None
                after = set(self.visible().values())
                self.account.must -= before - after
                self.account.must |= {token for token in after - before if token in self.account.written}
                self.account.folders = set(self._folders())

    def advance(self, seconds: float) -> None:
        if self.now + seconds - self._delivered > LATEST:
            self.deliver()
        self.now += seconds

    def deliver(self) -> None:
        """What is late takes effect."""
        self.faulty.deliver()
        self._delivered = self.now
        self.note_versions()

    # -- what goes wrong --------------------------------------------------------------------------

    def _fault(self, call: Call) -> Fault | None:
        if self.calm:
            return None
        if call.verb == "store_fileobject" and self.random.random() < self.chaos.lost:
            return Fault(lost=True)
        if call.verb == "list_pages" and self.random.random() < self.chaos.stale:
            return Fault(stale=self.random.randint(1, 3))
        fault = self.plan(call)
        if fault is not None and fault.late and call.verb == "move":
            return None  # only a file system of the same machine renames, and nothing is on its way there
        return fault

    def _between(self, verb: str) -> None:
        """Called before and after each request to the store."""
        self.note_versions()
        if self.calm or self.acting:
            return
        if self.random.random() < self.chaos.crashes:
            raise Crash
        if verb != "read" and self.random.random() < self.chaos.interleaving:
            self._inside_request = True
            try:
                self.some_client_operation()
            finally:
                self._inside_request = False

    def _maybe_crashing_write(self, change):  # type: ignore[no-untyped-def]
        if not self.calm and self.random.random() < self.chaos.crashes / 4:
            raise Crash
        result = self._write(change)
        if not self.calm and self.random.random() < self.chaos.crashes / 4:
            raise Crash
        return result

    # -- clients ----------------------------------------------------------------------------------

    def some_client_operation(self) -> None:
        """One operation on paths that exist or might, without asking the store."""
        paths = list(self.visible()) + self._folders() + ["/a", "/b", "/a/c"]
        path, other = self.random.choice(paths), self.random.choice(paths)
        match self.random.randrange(5):
            case 0 | 1:
                self.put(path)
            case 2:
                self.delete(path)
            case 3:
                self.move(path, other)
            case 4:
                self.make_folder(path + "/d" if path in self._folders() else path)

    def put(self, path: str) -> None:
        token = self._token()

        def act() -> None:
            with self.share.receive(len(token)) as incoming:
                incoming.write(token)
                node, _ = self.share.put(path, incoming)
            self._tokens[node.content or 0] = token
        with self.surviving():
            if self._act(act):
                self.account.must.add(token)
                self.acknowledged += 1

    def make_folder(self, path: str) -> None:
        with self.surviving():
            self._act(lambda: self.share.make_folder(path))

    def delete(self, path: str) -> None:
        self._forgive_unlisted(path)
        with self.surviving():
            self._act(lambda: self.share.delete(path))

    def move(self, source: str, destination: str) -> None:
        self._forgive_unlisted(destination)
        with self.surviving():
            self._act(lambda: self.share.move(source, destination, overwrite=True))

    def copy(self, source: str, destination: str) -> None:
        with self.surviving():
            try:
                node = self.share.find(source)
                if node is None:
                    return
                if node.is_folder:
                    list(self.share.walk(node))
            except StoreError:
                return
            self._forgive_unlisted(destination)
            self._act(lambda: self.share.copy(source, destination, overwrite=True))

    def read(self, path: str) -> None:
        """What is read is something that was written, whole."""
        with self.surviving():
            try:
                node = self.share.find(path)
                if node is None or node.is_folder:
                    return
                with contextlib.closing(self.share.open(node)) as reader:
                    data = reader.read()
            except (StoreError, TreeError):
                return
            assert data in self.account.written, f"torn: {path} {data!r}"
            assert len(data) == node.size

    def look(self, path: str) -> None:
        with self.surviving(), contextlib.suppress(StoreError, TreeError):
            node = self.share.find(path)
            if node is not None and node.is_folder:
                self.share.children(node)

    def _act(self, operation: Callable[[], object]) -> bool:
        """Run an operation on the tree and account for what it made disappear; False when it did not happen."""
        self.acting += 1
        before = set(self.visible().values())
        self.check_folders()
        try:
            operation()
        except (TreeError, StoreError):
            self.acting -= 1
            return False
        except Crash:
            self._doubtful = before
            raise
        after = set(self.visible().values())
        self.account.dead |= before - after
        self.account.must -= before - after
        self.account.folders = set(self._folders())
        self.acting -= 1
        return True

    def check_folders(self) -> None:
        """Where only clients make and delete folders, none comes or goes by itself."""
        if not (self.chaos.editor or self.chaos.lost or self.chaos.stale):
            folders = set(self._folders())
            assert folders == self.account.folders, f"folders by themselves: {sorted(folders ^ self.account.folders)}"

    def _forgive_unlisted(self, path: str) -> None:
        """Who deletes a folder that was never listed deletes what is in it, unseen, wherever its rename has got to."""
        view = self.share.index.view()
        top = view.nodes.resolve(path)
        if top is None or not top.is_folder:
            return
        for record in [top, *(record for record, _ in view.nodes.subtree(top.id))]:
            if record.is_folder and record.listed is None and record.synced_path is not None:
                self._touch(record.synced_path)
                self._touch(view.nodes.path(record.id) or record.synced_path)

    # -- the engine and the cache -------------------------------------------------------------------

    def work(self, steps: int) -> None:
        with self.surviving():
            self.engine.run_due(limit=steps)

    def tidy(self) -> None:
        with self.surviving(), contextlib.suppress(StoreError):
            self.engine.tidy()

    def evict(self) -> None:
        with self.surviving():
            self.share.space.evict(10**12)

    # -- the editor ---------------------------------------------------------------------------------

    def edit(self, path: str) -> None:
        """Somebody writes a file in the store itself."""
        stored = self.stored()
        above = [path[:position] for position in range(1, len(path)) if path[position] == "/"]
        if stored.get(path, b"") is None or any(stored.get(folder) is not None for folder in above):
            return
        self._touch(path)
        token = self._token()
        self.inner.store_fileobject(io.BytesIO(token), path)
        if not any(path.startswith(folder + "/") for folder in self._deleted_unseen()):
            self.account.must.add(token)
        self.note_versions()

    def edit_delete(self, path: str) -> None:
        """Somebody deletes a file or folder in the store itself."""
        stored = self.stored()
        if path not in stored or path == "/":
            return
        self._touch(path)
        self.inner.delete(path, is_dir=stored[path] is None)

    def _deleted_unseen(self) -> list[str]:
        """Folders that a client deleted without anybody having listed them: what is in them goes, whatever it is."""
        view = self.share.index.view()
        return [record.synced_path or "" for record in view.nodes.below_store("", -1)
                if record.is_folder and record.listed is None and view.nodes.path(record.id) is None]

    def _touch(self, path: str) -> None:
        for stored, token in self.stored().items():
            if token is not None and (stored == path or stored.startswith(path.rstrip("/") + "/")):
                self.account.touched.add(token)
                self.account.must.discard(token)

    # -- looking ------------------------------------------------------------------------------------

    def visible(self) -> dict[str, bytes]:
        """The files that clients see, by path."""
        view = self.share.index.view()
        return {path: self._token_of(record) for record, path in view.nodes.subtree(1) if not record.is_folder}

    def _folders(self) -> list[str]:
        view = self.share.index.view()
        return [path for record, path in view.nodes.subtree(1) if record.is_folder]

    def stored(self) -> dict[str, bytes | None]:
        """What the store really holds: files with bytes, folders with None."""
        found: dict[str, bytes | None] = {}
        pending = ["/"]
        while pending:
            for page in self.inner.list_pages(pending.pop()):
                for entry in page:
                    found[entry.path] = None if entry.is_dir else self.inner.get_file(entry.path)
                    if entry.is_dir:
                        pending.append(entry.path)
        return found

    def note_versions(self) -> None:
        """Remember which bytes a version of the store stands for."""
        if isinstance(self.inner, Bucket):
            for key, thing in self.inner.objects.items():
                if not key.endswith(MARKER):
                    self._versions[thing.version] = thing.data
            return
        for page in self.inner.list_pages("/", recursive=True):
            for entry in page:
                if not entry.is_dir and entry.version not in self._versions:
                    self._versions[entry.version or ""] = self.inner.get_file(entry.path)

    def _token_of(self, record: Record) -> bytes:
        known = self._tokens.get(record.content or 0)
        if known is None:
            known = self._from_file(record)
            self._tokens[record.content or 0] = known
        return known

    def _from_file(self, record: Record) -> bytes:
        view = self.share.index.view()
        for holder in view.nodes.holders(record.content or 0):
            if holder.synced_version in self._versions:
                return self._versions[holder.synced_version]
        opened = open_whole(view, self.share.files, record.content or 0)
        if opened is None:
            return b"unknown"
        with opened:
            return opened.read()

    def _token(self) -> bytes:
        self._count += 1
        token = f"token {self._count} ".encode() * self.random.choice((1, 1, 50, 700))
        self.account.written.add(token)
        return token

    # -- the end ------------------------------------------------------------------------------------

    def converge(self) -> None:
        """Let everything settle with nothing going wrong."""
        self.calm = True
        self.acting = 1
        for _ in range(CONVERGE_ROUNDS):
            self.advance(1000.0)
            before = self._both_sides()
            self._refresh_all()
            steps = self.engine.run_due()
            self.engine.tidy()
            view = self.share.index.view()
            waiting = view.nodes.count_dirty()[0] or view.operations.open()
            if not steps and not waiting and before == self._both_sides():
                break  # a whole round of listing and carrying changed nothing

    def _both_sides(self) -> tuple[object, ...]:
        """What the store holds and what the share shows."""
        return self.stored(), self.visible(), sorted(self._folders())

    def _refresh_all(self) -> None:
        pending = [1]
        while pending:
            node = pending.pop()
            record = self.share.index.view().nodes.get(node)
            if record is None:
                continue
            with contextlib.suppress(StoreError):
                self.share.lister.ensure(record)
            pending += [child.id for child in self.share.index.view().nodes.children(node) if child.is_folder]

    def check(self) -> None:
        """What must be true when everything has settled."""
        view = self.share.index.view()
        waiting = [(record.id, record.synced_path, view.nodes.path(record.id), record.problem)
                   for record in view.nodes.dirty(100) if not record.parked]
        assert not waiting, f"still waiting: {waiting}"
        assert not view.operations.open(), f"still in doubt: {view.operations.open()}"
        parked = [record for record in view.nodes.dirty(100) if record.parked]
        assert self.chaos.editor or not parked, f"parked: {parked}"
        lost = {view.nodes.path(record.id) for record in parked}
        self.check_folders()
        local = {path: data for path, data in self._local().items() if path not in lost}
        stored = self.stored()
        assert local == stored, _difference(local, stored)
        if not (self.chaos.editor or self.chaos.lost or self.chaos.stale):
            assert not [path for path in stored if "conflict of" in path], f"conflicts with nobody: {sorted(stored)}"
        present = {data for data in stored.values() if data is not None}
        assert present <= self.account.written, "torn"
        missing = self.account.must - present - self._shadowed()
        assert not missing, f"lost: {sorted(token[:12] for token in missing)}"
        risen = (self.account.dead - self.account.touched - self.account.must) & present
        assert not risen, f"resurrected: {sorted(token[:12] for token in risen)}"

    def _shadowed(self) -> set[bytes]:
        """Where keys are only strings an object may lie below another's key: it is there, but no folder shows it."""
        if not isinstance(self.inner, Bucket):
            return set()
        return {thing.data for key, thing in self.inner.objects.items()
                if any(key.startswith(other + "/") for other in self.inner.objects)}

    def _local(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        view = self.share.index.view()
        for record, path in list(view.nodes.subtree(1)):
            if record.is_folder:
                found[path] = None
            elif not record.parked:
                with contextlib.closing(self.share.open(view.node(record, path))) as reader:
                    found[path] = reader.read()
        return found


class Interleaved(WrappedStore):
    """Lets something happen before and after each request."""

    def __init__(self, store: Store, between: Callable[[str], None]) -> None:
        super().__init__(store)
        self._between = between

    @contextlib.contextmanager
    def around(self, verb: str, path: str) -> Iterator[None]:
        self._between(verb)
        yield
        self._between(verb)


def _difference(local: dict[str, bytes | None], stored: dict[str, bytes | None]) -> str:
    short = {path: (None if data is None else data[:10]) for path, data in local.items()}
    other = {path: (None if data is None else data[:10]) for path, data in stored.items()}
    only_local = {path: data for path, data in short.items() if path not in other or other[path] != data}
    only_stored = {path: data for path, data in other.items() if path not in short or short[path] != data}
    return f"the share and the store differ: here {only_local}, there {only_stored}"


def _fast_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
