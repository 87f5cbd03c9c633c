"""What a change costs: requests to the store, entries of the journal, time in the index."""

from __future__ import annotations

import time
from collections import Counter

from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked.factory import Packing
from davfusion.sync.chunked.scribe import NUMBER
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office
from tests.sync.chunked.watched import Counted

FOLDERS, EACH = 50, 100


def fill(office: Office, folders: int, each: int, size: int = 100) -> None:
    for folder in range(folders):
        office.folder(f"/{folder:03}")
        for number in range(each):
            office.save(f"/{folder:03}/{number:03}", b"%07d" % (folder * each + number) * (size // 7))


def test_five_thousand_files_cost_few_requests(make_office: MakeOffice) -> None:
    store = Counted(MemoryStore())
    office = make_office(store, packing=Packing())
    fill(office, FOLDERS, EACH, size=4096)
    office.engine._open()
    store.requests.clear()
    office.engine.run_due()
    assert office.index.view().nodes.count_dirty() == (0, 0)
    assert len(store.requests) <= FOLDERS * EACH / 100, Counter(verb for verb, _ in store.requests)
    assert office.index.view().operations.meta(NUMBER) == "1"


def test_rename_and_copy_of_a_large_folder_cost_one_entry_each(make_office: MakeOffice) -> None:
    store = Counted(MemoryStore())
    office = make_office(store, packing=Packing())
    office.folder("/large")
    for folder in range(20):
        office.folder(f"/large/{folder}")
        for number in range(500):
            office.save(f"/large/{folder}/{number}", b"")
    office.engine.run_due()
    for change in (lambda: office.share.move("/large", "/renamed", overwrite=False),
                   lambda: office.share.copy("/renamed", "/copy", overwrite=False)):
        store.requests.clear()
        before = time.thread_time()
        change()
        spent = time.thread_time() - before
        office.engine.run_due()
        assert office.index.view().nodes.count_dirty() == (0, 0)
        assert len(store.requests) <= 2, store.requests
        assert spent <= 0.5, "the goal is 0.1 s of a machine that does nothing else"


def test_a_change_that_is_undone_in_time_costs_nothing(make_office: MakeOffice) -> None:
    store = Counted(MemoryStore())
    office = make_office(store, upload_delay=5.0)
    office.engine._open()
    store.requests.clear()
    office.save("/x.tmp", b"1")
    office.share.delete("/x.tmp")
    assert office.now is not None
    office.now += 10
    office.engine.run_due()
    assert store.requests == []
