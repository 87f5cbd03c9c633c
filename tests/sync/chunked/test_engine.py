"""The engine at work, with real threads: polite to a store that fails, quick with small files, quiet when idle."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest

from davfusion.cache.index import View
from davfusion.store.errors import OutOfSpaceError, PermissionDeniedError, StoreError, TemporaryError
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked import engine as engines
from davfusion.sync.chunked.cut import Cut, cut
from davfusion.sync.chunked.factory import Packing
from davfusion.sync.engine import EngineSettings
from davfusion.sync.retry import Backoff
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office
from tests.sync.world import Observed, until

SLOWLY = EngineSettings(backoff=Backoff(first=0.4, longest=0.5, patient=0.4), pause=0.4)


@contextlib.contextmanager
def at_work(office: Office) -> Iterator[threading.Event]:
    """The engine runs in a thread of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=office.engine.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def settled(office: Office) -> bool:
    return office.index.view().nodes.count_dirty() == (0, 0)


def problems(office: Office) -> set[str | None]:
    return {record.problem for record in office.index.view().nodes.dirty(1000)}


def test_it_carries_and_writes_down(make_office: MakeOffice) -> None:
    office = make_office(now=None)
    with at_work(office):
        office.folder("/a")
        for number in range(50):
            office.save(f"/a/{number}", b"%d" % number * 50)
        office.save("/large", os.urandom(5500))
        office.save("/empty", b"")
        until(lambda: settled(office))
        office.share.move("/a", "/b", overwrite=False)
        until(lambda: settled(office))
        assert len(office.recovered()) == 53
        assert office.recovered()["/b/7"] == b"7" * 50


def test_a_huge_file_on_its_way_holds_nothing_back_and_writes_no_entries(make_office: MakeOffice) -> None:
    store, go_on = Observed(MemoryStore()), threading.Event()
    office = make_office(store, now=None)
    store.hold = lambda verb, path: go_on if path.startswith("/blocks/") else None
    with at_work(office):
        office.save("/huge", os.urandom(9000))
        assert store.arrived.wait(10)
        office.save("/small", b"1")
        office.colour("/small", "<x/>")
        until(lambda: "/small" in _recovered(office))
        entries = [path for verb, path in list(store.requests)
                   if verb == "store_fileobject" and path.startswith("/journal/")]
        assert "/huge" not in office.recovered() and len(entries) < 5
        before = len(store.requests)
        time.sleep(1.5)
        assert len(store.requests) - before < 5, "the store is asked although nothing changed"
        go_on.set()
        until(lambda: settled(office))


def test_a_file_that_changes_on_its_way_is_interrupted(make_office: MakeOffice) -> None:
    store, go_on = Observed(MemoryStore()), threading.Event()
    office = make_office(store, now=None)
    store.hold = lambda verb, path: go_on if path.startswith("/blocks/") else None
    with at_work(office):
        office.save("/x", os.urandom(20_000))
        assert store.arrived.wait(10)
        office.save("/x", b"small now")
        until(lambda: _recovered(office).get("/x") == b"small now")
        go_on.set()
        until(lambda: settled(office))
    sent = {path for verb, path in store.requests if verb == "store_fileobject" and path.startswith("/blocks/")}
    assert len(sent) <= 10


def test_it_stops_in_the_middle_of_a_transfer_and_goes_on_later(make_office: MakeOffice) -> None:
    store, go_on, data = Observed(MemoryStore()), threading.Event(), os.urandom(30_000)
    office = make_office(store, now=None)
    store.hold = lambda verb, path: go_on if path.startswith("/blocks/") else None
    with at_work(office) as stop:
        office.save("/x", data)
        assert store.arrived.wait(10)
        stop.set()
        until(lambda: all(transfer.interrupt.is_set() for transfer in office.engine._transfers._running.values()))
        go_on.set()
    assert not settled(office)
    assert not store.exists("/lease.json")
    office.close()
    again = make_office(store, now=None)
    with at_work(again):
        until(lambda: settled(again))
        assert again.recovered() == {"/x": data}


@pytest.mark.parametrize("error", [PermissionDeniedError("Not allowed"), TemporaryError("Down"),
                                   OutOfSpaceError("Full")])
@pytest.mark.parametrize("where", ["/archives/", "/journal/", ""])
def test_a_store_that_refuses_is_asked_politely_and_people_see_why(
        make_office: MakeOffice, error: StoreError, where: str) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, now=None, settings=SLOWLY)
    store.fail = lambda verb, path: error if path.startswith(where) else None
    office.save("/x", b"1")
    with at_work(office):
        until(lambda: problems(office) == {error.message})
        before, cpu = len(store.requests), time.process_time()
        time.sleep(2.0)
        spent = time.process_time() - cpu
        assert len(store.requests) - before <= 30
        assert spent < 1.0, "busy although nothing can be done"
        store.fail = lambda verb, path: None
        until(lambda: settled(office))
        assert office.recovered() == {"/x": b"1"}
        assert problems(office) == set()


def test_a_mistake_of_its_own_is_told_too(make_office: MakeOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    office = make_office(now=None)
    monkeypatch.setattr(engines, "PAUSE_AFTER_PROBLEM", 0.05)
    mistake = [True]

    def cut_wrongly(view: View) -> Cut:
        if mistake:
            raise ValueError("a mistake")
        return cut(view)
    monkeypatch.setattr(engines, "cut", cut_wrongly)
    office.save("/x", b"1")
    with at_work(office):
        until(lambda: any("a mistake" in (problem or "") for problem in problems(office)))
        mistake.clear()
        until(lambda: settled(office))


def test_problems_vanish_from_what_still_waits(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, now=None, upload_delay=0.0)
    store.fail = lambda verb, path: PermissionDeniedError("Not allowed") if path.startswith("/journal/") else None
    with at_work(office):
        office.save("/x", b"1")
        until(lambda: problems(office) == {"Not allowed"})
        held = office.save("/held", b"2")
        office.index.write(lambda view: view.nodes.update(held, due=view.now() + 1000, problem="Not allowed"))
        store.fail = lambda verb, path: None
        until(lambda: "/x" in _recovered(office))
        until(lambda: problems(office) == {None})


def test_small_files_go_on_where_they_have_room(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, now=None, packing=Packing(pack_below=300_000, archive_size=400_000, compress=False))
    too_large: set[str] = set()

    def full(verb: str, path: str) -> StoreError | None:
        if verb == "store_fileobject" and path.startswith("/blocks/"):
            return OutOfSpaceError("Full")
        if verb == "store_fileobject" and path.startswith("/archives/") and path not in too_large and (
                office.engine._largest_archive is None):
            too_large.add(path)
            return OutOfSpaceError("Full")
        return None
    store.fail = full
    office.save("/large", os.urandom(400_000))
    for number in range(3):
        office.save(f"/{number}", os.urandom(100_000))
    with at_work(office):
        until(lambda: len(_recovered(office)) == 3)
        assert problems(office) == {"Full"} and too_large
        store.fail = lambda verb, path: None
        until(lambda: settled(office))


def test_the_wish_to_hurry_is_heard_and_waited_for(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, now=None, upload_delay=1000.0)
    with at_work(office):
        office.save("/x", b"1")
        office.folder("/a")
        office.share.lock("/x", exclusive=True, infinite=False, owner=b"", principal="", timeout=1000.0)
        office.index.write(lambda view: view.operations.request_sync())
        until(lambda: settled(office))
        assert set(office.recovered()) == {"/x", "/a"}
        office.save("/y", b"1")
        time.sleep(0.5)
        assert not settled(office), "hurried for ever"


def test_a_locked_file_is_held_back(make_office: MakeOffice) -> None:
    office = make_office(now=None)
    with at_work(office):
        office.share.lock("/x", exclusive=True, infinite=False, owner=b"", principal="", timeout=1000.0)
        office.save("/x", b"1")
        office.save("/y", b"2")
        until(lambda: "/y" in _recovered(office))
        assert "/x" not in office.recovered()


def test_it_is_quiet_when_there_is_nothing_to_do(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, now=None)
    queries: list[str] = []
    with at_work(office):
        office.save("/x", b"1")
        until(lambda: settled(office))
        time.sleep(2.5)
        connect = office.index._database.reader

        def traced():  # type: ignore[no-untyped-def]
            connection = connect()
            connection.set_trace_callback(queries.append)
            return connection
        office.index._views = threading.local()
        office.index._database.reader = traced  # type: ignore[method-assign]
        requests, cpu = len(store.requests), time.process_time()
        time.sleep(3.0)
        assert time.process_time() - cpu < 0.5
        assert len(store.requests) == requests
    assert len(queries) < 120, queries[:40]


def test_a_clock_that_was_set_back_stops_nothing(make_office: MakeOffice) -> None:
    office = make_office(now=1e6, upload_delay=5.0)
    with at_work(office):
        office.save("/x", b"1")
        office.now = 1e6 - 86_400

        def a_second_later() -> bool:
            assert office.now is not None
            office.now += 1.0
            return settled(office)
        until(a_second_later)
        assert office.now < 1e6 - 80_000


def _recovered(office: Office) -> dict[str, bytes | None]:
    return office.recovered() if office.index.view().operations.meta("share") else {}
