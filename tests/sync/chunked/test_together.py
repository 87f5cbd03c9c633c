"""Everything at once, in real threads: clients, uploads, the journal, snapshots and the collector."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator

import pytest

from davfusion.cache.errors import TreeError
from davfusion.chunks.image import Image
from davfusion.store.errors import TemporaryError
from davfusion.store.faults import FaultyStore, RandomPlan
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked import engine as engines
from davfusion.sync.chunked import snapshots
from davfusion.sync.chunked.collector import Thrift
from davfusion.sync.chunked.factory import Packing
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office
from tests.sync.chunked.test_engine import at_work
from tests.sync.chunked.watched import Judged, bytes_of, reached
from tests.sync.world import until

SECONDS = 6.0
CLIENTS = 3


class Noted(Judged):
    """Judges one change at a time, and notes what is wrong: the engine would take it for a failure to be retried."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.wrong: list[str] = []
        self._judging = threading.Lock()

    def store_fileobject(self, fileobject, path, **options):
        with self._noting(path):
            return super().store_fileobject(fileobject, path, **options)

    def delete(self, path, is_dir, **options):
        with self._noting(path):
            super().delete(path, is_dir, **options)

    @contextlib.contextmanager
    def _noting(self, path: str) -> Iterator[None]:
        with self._judging:
            try:
                yield
            except (AssertionError, RuntimeError, KeyError) as error:
                self.wrong.append(f"{path}: {error!r}")
                raise


class Client:
    """Works in a folder of its own, of which it knows what must be there; what it saves says where it belongs."""

    def __init__(self, office: Office, number: int) -> None:
        self.office, self.root, self.random = office, f"/client{number}", random.Random(number)
        self.expected: dict[str, bytes] = {}
        self.torn: list[str] = []
        self.count = 0
        office.folder(self.root)

    def run(self, until_when: float) -> None:
        while time.monotonic() < until_when:
            with contextlib.suppress(TreeError):
                self.act()

    def act(self) -> None:
        path = f"{self.root}/{self.random.randrange(12)}"
        other = f"{self.root}/{self.random.randrange(12)}"
        share = self.office.share
        match self.random.randrange(6):
            case 0 | 1 | 2:
                self.count += 1
                data = f"{self.root} {self.count} ".encode() * self.random.choice((1, 5, 60, 300))
                self.office.save(path, data)
                self.expected[path] = data
            case 3:
                share.delete(path)
                del self.expected[path]
            case 4:
                share.move(path, other, overwrite=True)
                self.expected[other] = self.expected.pop(path)
            case 5:
                share.copy(path, other, overwrite=True)
                self.expected[other] = self.expected[path]
        if self.random.random() < 0.2:
            share.space.evict(10**9)
            for known, data in self.expected.items():
                with contextlib.suppress(TemporaryError):  # the store may fail; what comes is compared
                    if self.office.read(known) != data:
                        self.torn.append(known)


@pytest.mark.parametrize("failures", [0.0, 0.1])
def test_all_at_once(make_office: MakeOffice, monkeypatch: pytest.MonkeyPatch, failures: float) -> None:
    monkeypatch.setattr(engines, "UPKEEP_EVERY", 0.05)
    monkeypatch.setattr(engines, "REST", 0.0)
    monkeypatch.setattr(snapshots, "ENTRIES", 5)
    judged = Noted()
    plan = RandomPlan(random.Random(1), {"before": failures / 2, "after": failures / 2})
    office = make_office(FaultyStore(judged, plan), now=None,
                         packing=Packing(pack_below=1000, archive_size=3000, block_size=1000),
                         thrift=Thrift(grace=0.0, unfinished=0.0, small=2000, merge_from=3, archive_size=3000))

    def judge(image: Image) -> None:
        for line in reached(image).values():
            data = b"" if line.content is None else bytes_of(judged._store, image.contents[line.content])
            if data and data.split(b" ")[0] not in (b"/client0", b"/client1", b"/client2"):
                judged.wrong.append(f"{line}")
    judged.judge = judge
    judged.needed = lambda: {place.path for record, _ in office.index.view().nodes.subtree(1)
                             if record.content is not None
                             for place in office.index.view().objects.places(record.content)}
    clients = [Client(office, number) for number in range(CLIENTS)]
    with at_work(office):
        end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=client.run, args=(end,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        plan.enabled = False
        office.index.write(lambda view: view.operations.request_sync())
        until(lambda: office.index.view().nodes.count_dirty() == (0, 0), deadline=60)
        until(lambda: set(_objects(office)) == set(office.image().objects), deadline=60)
    assert not judged.wrong and not [path for client in clients for path in client.torn]
    assert judged.entries > 10 and judged.deleted
    expected = {path: data for client in clients for path, data in client.expected.items()}
    assert {path: data for path, data in office.recovered().items() if data is not None} == expected
    assert not [record for record, _ in office.index.view().nodes.subtree(1) if record.problem]
    assert {path: office.read(path) for path in expected} == expected


def _objects(office: Office) -> list[str]:
    return [entry.path for folder in ("/archives", "/blocks") if office.store.exists(folder)
            for page in office.store.list_pages(folder, recursive=True) for entry in page if not entry.is_dir]
