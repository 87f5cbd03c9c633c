"""How contents get into objects whatever the store, the collector and the clients do meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable

import pytest

from davfusion.cache.index.objects import DELETING, HELD, LEAVING, WRITING
from davfusion.chunks import volume
from davfusion.store.errors import TemporaryError, TransferInterruptedError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked import carriage
from davfusion.sync.chunked.factory import Item, Packing
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office
from tests.sync.chunked.watched import Counted
from tests.sync.world import Observed, until

NEVER = threading.Event()


def block_of(data: bytes) -> str:
    return volume.block_path(hashlib.sha256(data).hexdigest())


def item(office: Office, path: str) -> Item:
    (found,) = [each for each in office.engine._items(office.index.now()) if each.path == path]
    return found


def puts(store: Counted) -> list[str]:
    return [path for verb, path in store.requests if verb == "store_fileobject"]


def planned(fault: Callable[[Call], Fault | None]) -> FaultyStore:
    return FaultyStore(MemoryStore(), fault)


def test_a_block_that_is_there_is_not_sent_again(make_office: MakeOffice) -> None:
    store = Counted(MemoryStore())
    office = make_office(store)
    office.save("/a", b"1" * 1000 + b"2" * 1000 + b"3" * 500)
    office.engine.run_due()
    assert len([path for path in puts(store) if path.startswith("/blocks/")]) == 3
    store.requests.clear()
    office.save("/a", b"1" * 1000 + b"9" * 1000 + b"3" * 500)
    office.engine.run_due()
    assert [path for path in puts(store) if path.startswith("/blocks/")] == [block_of(b"9" * 1000)]
    assert office.recovered() == {"/a": b"1" * 1000 + b"9" * 1000 + b"3" * 500}


def test_equal_blocks_of_one_file_are_read_back_in_their_places(office: Office) -> None:
    data = b"1" * 1000 + b"2" * 1000 + b"1" * 1000
    office.save("/a", data)
    office.engine.run_due()
    office.share.space.evict(10**12)
    assert office.read("/a") == data
    assert office.recovered() == {"/a": data}


@pytest.mark.parametrize("size", [10, 2500])
def test_a_lost_answer_costs_nothing(make_office: MakeOffice, size: int) -> None:
    failed: list[str] = []

    def fault(call: Call) -> Fault | None:
        if call.verb == "store_fileobject" and call.path.count("/") > 1 and call.path not in failed and (
                len(failed) < 2):
            failed.append(call.path)
            return Fault(after=TemporaryError("planned"))
        return None
    office = make_office(planned(fault))
    data = os.urandom(size)
    office.save("/a", data)
    for _ in range(4):
        try:
            office.engine.run_due()
        except TemporaryError:
            continue
    assert failed and office.recovered() == {"/a": data}
    assert office.index.view().nodes.count_dirty() == (0, 0)


@pytest.mark.parametrize("size", [10, 1500])
def test_what_the_store_lost_is_sent_again(make_office: MakeOffice, size: int) -> None:
    lost: list[str] = []

    def fault(call: Call) -> Fault | None:
        if call.verb == "store_fileobject" and call.path.startswith(("/archives", "/blocks", "/journal")) and (
                len(lost) < 3):
            lost.append(call.path)
            return Fault(lost=True)
        return None
    office = make_office(planned(fault))
    data = os.urandom(size)
    office.save("/a", data)
    for _ in range(5):
        try:
            office.engine.run_due()
        except TemporaryError:
            continue
    assert len(lost) == 3 and office.recovered() == {"/a": data}


def test_a_large_file_goes_on_where_a_crash_stopped_it(make_office: MakeOffice, tmp_path: object) -> None:
    store, data = MemoryStore(), os.urandom(5000)
    stopping = threading.Event()

    def fault(call: Call) -> Fault | None:
        if call.path == block_of(data[3000:4000]) and not stopping.is_set():
            stopping.set()
            return Fault(before=TemporaryError("planned"))
        return None
    office = make_office(FaultyStore(store, fault))
    office.save("/a", data)
    with pytest.raises(TemporaryError):
        office.engine.run_due()
    office.close()
    counted = Counted(store)
    again = make_office(counted)
    again.engine.run_due()
    sent = [path for path in puts(counted) if path.startswith("/blocks/")]
    assert sent and len(sent) < 5
    assert again.recovered() == {"/a": data}


def test_only_so_many_blocks_are_in_memory_whatever_the_number_of_files(make_office: MakeOffice) -> None:
    store, go_on = Observed(MemoryStore()), threading.Event()
    office = make_office(store)
    office.engine._open()
    files = {f"/{number}": os.urandom(20_000) for number in range(3)}
    for path, data in files.items():
        office.save(path, data)
    store.hold = lambda verb, path: go_on if path.startswith("/blocks/") else None
    threads = [threading.Thread(target=office.engine._carriage.put_blocks, args=(item(office, path), NEVER))
               for path in files]
    for thread in threads:
        thread.start()
    until(lambda: store.under_way == carriage.AHEAD)
    view = office.index.view()
    wanted = sum(office.engine._carriage._wanted.values())
    assert carriage.AHEAD <= wanted <= carriage.AHEAD + len(files) and not view.objects.all(HELD)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(view.objects.all(HELD)) == 60
    assert office.engine._carriage._slots._value == carriage.AHEAD


def test_a_block_that_is_being_deleted_is_waited_for(office: Office) -> None:
    data = b"1" * 1000 + b"2" * 1000
    office.save("/a", data)
    office.engine.run_due()
    path = block_of(b"1" * 1000)
    office.index.write(lambda view: view.objects.set_state(path, DELETING, 0.0))
    office.save("/b", data)
    with pytest.raises(TemporaryError, match="removed"):
        office.engine._carriage.put_blocks(item(office, "/b"), NEVER)
    assert not office.index.view().objects.is_stored(office.share.find("/b").content or 0)  # type: ignore[union-attr]


def test_a_block_that_begins_to_be_deleted_at_the_last_moment_is_not_relied_upon(office: Office) -> None:
    office.engine._open()
    data = b"1" * 1000 + b"2" * 1000
    office.save("/a", data)
    carrying, path = office.engine._carriage, block_of(b"1" * 1000)
    note = carrying._note

    def late(packed):  # type: ignore[no-untyped-def]
        office.index.write(lambda view: view.objects.set_state(path, DELETING, 0.0))
        return note(packed)
    carrying._note = late  # type: ignore[method-assign]
    with pytest.raises(TemporaryError, match="removed"):
        carrying.put_blocks(item(office, "/a"), NEVER)
    assert not office.index.view().objects.is_stored(office.share.find("/a").content or 0)  # type: ignore[union-attr]


def test_an_archive_that_took_very_long_is_not_collected_under_way(make_office: MakeOffice) -> None:
    """It was noted as unfinished, condemned and deleted, and the contents counted as stored all the same."""
    from davfusion.sync.chunked.collector import Thrift
    holder: list[Office] = []

    def fault(call: Call) -> Fault | None:
        if call.verb == "get_metadata" and call.path.startswith("/archives/") and holder:
            volume = holder[0].engine._volume
            assert volume is not None and holder[0].now is not None
            holder[0].now += 100_000
            volume.collector.condemn()
            volume.collector.delete(NEVER)
        return None
    office = make_office(planned(fault), thrift=Thrift(grace=0.0))
    office.engine._open()
    holder.append(office)
    office.save("/a", b"data")
    office.engine.run_due()
    assert office.recovered() == {"/a": b"data"}


def test_a_condemned_block_comes_back(office: Office) -> None:
    data = b"1" * 1500
    office.save("/a", data)
    office.engine.run_due()
    office.share.delete("/a")
    office.engine.run_due()
    office.engine._upkeep.collect()
    assert office.now is not None
    office.now += 4000
    volume = office.engine._open()
    volume.collector.condemn()
    path = block_of(b"1" * 1000)
    assert office.index.view().objects.get(path).state == LEAVING  # type: ignore[union-attr]
    release = office.cut()
    assert path in {line.path for line in release.releases}
    office.save("/b", data)
    office.engine._carriage.put_blocks(item(office, "/b"), NEVER)
    volume.scribe.write(release)
    found = office.index.view().objects.get(path)
    assert found is not None and (found.state, found.journalled) == (HELD, False)
    office.engine.run_due()
    assert path in office.image().objects and office.recovered() == {"/b": data}


def test_an_interrupted_file_leaves_no_trace_but_its_blocks(office: Office) -> None:
    office.engine._open()
    office.save("/a", os.urandom(5000))
    stop = threading.Event()
    stop.set()
    with pytest.raises(TransferInterruptedError):
        office.engine._carriage.put_blocks(item(office, "/a"), stop)
    view = office.index.view()
    assert not view.objects.all(WRITING) and not view.objects.is_stored(1)


def test_a_content_that_was_deleted_on_its_way_leaves_nothing(office: Office) -> None:
    office.engine._open()
    office.save("/a", b"12")
    waiting = item(office, "/a")
    office.share.delete("/a")
    office.engine._upkeep.collect()
    assert office.engine._carriage.put_archive([waiting], NEVER).missing == (waiting,)
    assert not office.index.view().objects.all(WRITING)


def test_bytes_that_are_missing_here_are_told_and_do_not_stop_others(office: Office) -> None:
    """The engine tried without end, and nobody was told."""
    broken = office.save("/broken", os.urandom(900_000))
    office.save("/whole", b"1")
    content = office.index.view().contents.get(office.share.find("/broken").content or 0)  # type: ignore[union-attr]
    assert content is not None and content.file is not None
    office.share.files.path(content.file).unlink()
    office.engine.run_due()
    record = office.index.view().nodes.get(broken)
    assert record is not None and record.problem is not None and "missing" in record.problem
    assert office.recovered() == {"/whole": b"1"}


def test_a_truncated_cache_file_is_told_and_does_not_stop_others(make_office: MakeOffice) -> None:
    """It was packed as it was, and no entry of the journal could ever be written again."""
    office = make_office(packing=Packing())
    broken = office.save("/broken", os.urandom(900_000))
    office.save("/whole", b"1")
    content = office.index.view().contents.get(office.share.find("/broken").content or 0)  # type: ignore[union-attr]
    assert content is not None and content.file is not None
    os.truncate(office.share.files.path(content.file), 1000)
    office.engine.run_due()
    record = office.index.view().nodes.get(broken)
    assert record is not None and record.problem is not None
    assert office.recovered() == {"/whole": b"1"}


def test_empty_files_need_no_object(make_office: MakeOffice) -> None:
    store = Counted(MemoryStore())
    office = make_office(store)
    office.save("/a", b"")
    office.engine.run_due()
    assert not [path for path in puts(store) if path.startswith("/archives/")]
    assert office.recovered() == {"/a": b""}
