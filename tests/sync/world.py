"""An engine at work on a share: real threads, a real index, stores that are slow, down or odd."""

from __future__ import annotations

import contextlib
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from davfusion.cache.index import Durability, Index, Record
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.errors import StoreError, TemporaryError
from davfusion.store.interface import Condition, Metadata, Store
from davfusion.store.wrapper import WrappedStore
from davfusion.sync.engine import Engine, EngineSettings
from davfusion.sync.retry import Backoff

DEADLINE = 20.0
"""Seconds within which anything that is waited for must happen."""
QUICK = Backoff(first=0.02, longest=0.2, patient=0.1)


def until(happened: Callable[[], object], *, deadline: float = DEADLINE, what: str = "") -> None:
    """Poll until it is true; fail after the deadline."""
    end = time.monotonic() + deadline
    while not happened():
        assert time.monotonic() < end, f"did not happen: {what or happened}"
        time.sleep(0.005)


def save(share: Share, path: str, data: bytes) -> None:
    """A client saves a file."""
    with share.receive(len(data)) as incoming:
        incoming.write(data)
        share.put(path, incoming)


def somebody_writes(store: Store, path: str, data: bytes) -> Metadata:
    """A program that knows nothing of the share writes into the store."""
    return store.store_fileobject(io.BytesIO(data), path)


def stored(store: Store) -> dict[str, bytes | None]:
    """All that the store holds: files with their bytes, folders with None."""
    found: dict[str, bytes | None] = {}
    pending = ["/"]
    while pending:
        for page in store.list_pages(pending.pop()):
            for entry in page:
                found[entry.path] = None if entry.is_dir else store.get_file(entry.path)
                if entry.is_dir:
                    pending.append(entry.path)
    return found


class Observed(WrappedStore):
    """Counts requests and can make some of them wait, or fail, as a test says."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.fail: Callable[[str, str], StoreError | None] = lambda verb, path: None
        self.hold: Callable[[str, str], threading.Event | None] = lambda verb, path: None
        self.arrived = threading.Event()

    @contextlib.contextmanager
    def around(self, verb: str, path: str) -> Iterator[None]:
        with self._lock:
            self.requests.append((verb, path))
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            error = self.fail(verb, path)
            if error is not None:
                raise error
            gate = self.hold(verb, path)
            if gate is not None:
                self.arrived.set()
                assert gate.wait(DEADLINE), "nobody opened the gate"
            yield
        finally:
            with self._lock:
                self.under_way -= 1

    def count(self, verb: str) -> int:
        """How often the verb was asked."""
        return sum(1 for asked, _ in list(self.requests) if asked == verb)

    def verbs(self) -> Counter[str]:
        """How often each verb was asked."""
        return Counter(verb for verb, _ in list(self.requests))


class Trickling(Observed):
    """Uploads take until their gate opens, and notice an interrupt meanwhile, as a real transfer does."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.open = threading.Event()
        self.started: list[str] = []
        self.interrupted: list[str] = []

    def store_fileobject(self, fileobject, path: str, *, condition: Condition = None,  # type: ignore[no-untyped-def]
                         modified: float | None = None, interrupt: threading.Event | None = None) -> Metadata:
        self.started.append(path)
        end = time.monotonic() + DEADLINE
        while not self.open.wait(0.005) and time.monotonic() < end:
            if interrupt is not None and interrupt.is_set():
                self.interrupted.append(path)
                break
        return super().store_fileobject(
            fileobject, path, condition=condition, modified=modified, interrupt=interrupt)


class Office:
    """A share, its store and an engine that runs in a thread of its own while `working`."""

    def __init__(self, state: Path, store: Store, *, upload_delay: float = 0.0, workers: int = 8,
                 backoff: Backoff = QUICK, pause: float = 5.0,
                 clock: Callable[[], float] = time.time) -> None:
        state.mkdir(exist_ok=True)
        self.store = store
        index = Index(state / "index.db", durability=Durability.PROCESS_SAFE, clock=clock)
        self.share = Share(state, store, index=index, settings=CacheSettings(
            durability=Durability.PROCESS_SAFE, upload_delay=upload_delay))
        settings = EngineSettings(workers=workers, backoff=backoff, pause=pause)
        self.engine = Engine(self.share, settings, random=random.Random(3))

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """The engine runs; what ends it early fails the test."""
        stop = threading.Event()
        problems: list[BaseException] = []

        def work() -> None:
            try:
                self.engine.run(stop)
            except BaseException as problem:
                problems.append(problem)
        thread = threading.Thread(target=work, name="engine under test")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(DEADLINE)
        assert not thread.is_alive(), "the engine does not stop"
        assert not problems, problems

    def settled(self) -> bool:
        """Nothing is dirty, nothing in doubt."""
        view = self.share.index.view()
        return not view.operations.open() and view.nodes.count_dirty() == (0, 0)

    def record(self, path: str) -> Record:
        """The node at a local path."""
        found = self.share.index.view().nodes.resolve(path)
        assert found is not None, path
        return found

    def carry_all(self) -> None:
        """Work until nothing is left, without threads."""
        self.engine.run_due()
        view = self.share.index.view()
        assert self.settled(), [(record.id, view.nodes.path(record.id), record.synced_path, record.problem)
                                for record in view.nodes.dirty(20)] + view.operations.open()

    def close(self) -> None:
        self.share.close()


def down(verb: str, path: str) -> StoreError | None:
    """A store that cannot be reached."""
    return TemporaryError("Connection refused", path)
