"""Housekeeping: what nothing names goes, what was written is looked for, markers that nobody needs go."""

from __future__ import annotations

import threading
import time

import pytest

from davfusion.cache.contents import SMALL
from davfusion.store.errors import PermissionDeniedError, StoreError, TemporaryError
from davfusion.store.memory import MemoryStore
from davfusion.sync.upkeep import BATCH, COLLECT_PATIENCE, COLLECT_REST, COLLECT_SHARE, CONFIRM_AFTER, Upkeep
from tests.model.bucket import MARKER, Bucket
from tests.sync.conftest import MakeOffice
from tests.sync.world import Observed, Office, save, stored, until

NEVER = threading.Event()


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(office: Office) -> None:
    Upkeep(office.share).run(NEVER, store_is_down=False)


def unconfirmed(office: Office) -> list[str]:
    return office.share.index.view().nodes.unconfirmed_folders(float("inf"), 100)


def test_contents_that_nothing_names_are_removed(make_office: MakeOffice) -> None:
    office = make_office(MemoryStore())
    for number in range(500):
        save(office.share, "/f", b"%d" % number + bytes(number % 2 * SMALL))
    office.carry_all()
    removed = 0

    def collect() -> bool:
        nonlocal removed
        removed += Upkeep(office.share).collect()
        return removed >= 499
    until(collect, what="the last are kept until what replaced them is on stable storage")
    assert removed == 499
    assert len(office.share.index.view().contents.with_files(0, 1000)) == 1
    with office.share.open(office.share.find("/f")) as reader:  # type: ignore[arg-type]
        assert reader.read() == b"499" + bytes(SMALL)


def test_what_is_removed_is_not_written_once_more(make_office: MakeOffice) -> None:
    """Not even as zeros: to forget what is small must cost little."""
    office = make_office(MemoryStore(), upload_delay=100.0)
    for _ in range(201):
        save(office.share, "/f", b"x" * 10_000)
    office.share.index.shorten_log()
    assert Upkeep(office.share).collect() == 200
    assert office.share.index.log_size() < 200 * 10_000 / 4


def test_others_write_between_what_is_collected(make_office: MakeOffice) -> None:
    office = make_office(MemoryStore(), upload_delay=100.0)
    for number in range(2 * BATCH + 2):
        save(office.share, "/f", b"%d" % number)
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        save(office.share, "/g", b"between")

    assert Upkeep(office.share).collect(rest=rest) >= 2 * BATCH + 1
    assert len(rests) >= 3 and all(seconds > 0 for seconds in rests)


class Rests(threading.Event):
    """Notes how long is rested; a save of somebody else comes in each rest if `busy`."""

    def __init__(self, office: Office, *, busy: bool) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._office = office
        self._busy = busy

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        if self._busy:
            save(self._office.share, "/other", b"between")
        return False


@pytest.mark.parametrize(("busy", "hurry_from", "rests"), [
    (False, 0.5, 1), (True, 0.5, 2), (True, 0.0, 1)], ids=["alone", "beside others", "the cache is full"])
def test_what_nobody_needs_can_wait_while_others_write(
        make_office: MakeOffice, monkeypatch: pytest.MonkeyPatch, busy: bool, hurry_from: float, rests: int) -> None:
    """Where the cache is full, or nearly so, it cannot."""
    monkeypatch.setattr("davfusion.sync.upkeep.HURRY_FROM", hurry_from)
    office = make_office(MemoryStore(), upload_delay=100.0)
    for number in range(BATCH + 2):
        save(office.share, "/f", b"%d" % number)
    stop = Rests(office, busy=busy)
    Upkeep(office.share).run(stop, store_is_down=True)
    assert len(office.share.index.view().contents.unreferenced(0, 1000)) < 10
    assert len(stop.seconds) == 2 * rests, "after each of two batches"
    if rests == 2:
        assert stop.seconds[1] == pytest.approx(stop.seconds[0] * COLLECT_PATIENCE / COLLECT_REST)


def test_a_cache_that_fills_in_the_meantime_is_seen(
        make_office: MakeOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long collecting hurries from then on."""
    office = make_office(MemoryStore(), upload_delay=100.0)
    for number in range(BATCH + 2):
        save(office.share, "/f", b"%d" % number)

    class Filling(Rests):
        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            if len(self.seconds) == 2:
                monkeypatch.setattr("davfusion.sync.upkeep.HURRY_FROM", 0.0)
            return False

    stop = Filling(office, busy=True)
    Upkeep(office.share).run(stop, store_is_down=True)
    assert len(stop.seconds) == 3, "two after the first batch, one after the second"


def test_what_is_slow_to_remove_from_disk_lets_nothing_wait(
        make_office: MakeOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nobody up, and its room is wanted."""
    office = make_office(MemoryStore(), upload_delay=100.0)
    save(office.share, "/f", bytes(SMALL + 1))
    save(office.share, "/f", b"")
    remove, removed = office.share.files.remove, []

    def slowly(file: str) -> None:
        time.sleep(0.5)
        remove(file)
        removed.append(file)

    monkeypatch.setattr(office.share.files, "remove", slowly)
    stop = Rests(office, busy=True)
    upkeep = Upkeep(office.share)
    upkeep.run(stop, store_is_down=True)
    assert len(removed) == 1
    assert stop.seconds[0] < COLLECT_REST * 0.5
    assert upkeep._collect_at < time.monotonic() + COLLECT_SHARE * 0.5


def test_contents_that_wait_for_their_upload_stay(make_office: MakeOffice) -> None:
    office = make_office(MemoryStore(), upload_delay=100.0)
    save(office.share, "/f", b"data")
    assert Upkeep(office.share).collect() == 0
    office.share.index.write(lambda view: view.nodes.hasten(view.now()))
    office.carry_all()
    assert stored(office.store) == {"/f": b"data"}


def test_writes_are_looked_for_once_and_not_at_once(make_office: MakeOffice, clock: Clock) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, clock=clock)
    for number in range(20):
        save(office.share, f"/{number}", b"x")
    office.carry_all()
    run(office)
    assert store.count("list_pages") == 0
    clock.now += CONFIRM_AFTER + 1
    run(office)
    run(office)
    assert store.count("list_pages") == 1
    assert unconfirmed(office) == []


def test_a_write_that_the_store_lost_is_made_again(make_office: MakeOffice, clock: Clock) -> None:
    inside = MemoryStore()
    office = make_office(Observed(inside), clock=clock)
    save(office.share, "/f", b"data")
    office.carry_all()
    inside.delete("/f", is_dir=False)
    clock.now += CONFIRM_AFTER + 1
    run(office)
    office.carry_all()
    assert stored(inside) == {"/f": b"data"}


def test_a_folder_that_may_not_be_listed_does_not_keep_others_from_it(make_office: MakeOffice, clock: Clock) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, clock=clock)
    for folder in ("/a", "/b", "/c"):
        office.share.make_folder(folder)
        save(office.share, folder + "/f", b"x")
    office.carry_all()
    store.fail = lambda verb, path: (
        PermissionDeniedError("Not yours", path) if (verb, path) == ("list_pages", "/a") else None)
    clock.now += CONFIRM_AFTER + 1
    run(office)
    assert unconfirmed(office) == ["/a"]


def test_a_folder_that_vanished_is_noticed(make_office: MakeOffice, clock: Clock) -> None:
    inside = MemoryStore()
    office = make_office(Observed(inside), clock=clock)
    office.share.make_folder("/a")
    office.share.make_folder("/a/b")
    save(office.share, "/a/b/f", b"data")
    office.carry_all()
    inside.delete("/a", is_dir=True)
    clock.now += CONFIRM_AFTER + 1
    run(office)
    office.carry_all()
    run(office)
    assert stored(inside) == {"/a": None, "/a/b": None, "/a/b/f": b"data"}, "what was never seen there is kept"


@pytest.mark.parametrize("error", [TemporaryError("down"), PermissionDeniedError("Not yours"), RuntimeError("odd")])
def test_nothing_that_goes_wrong_gets_out(make_office: MakeOffice, clock: Clock, error: StoreError) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, clock=clock)
    save(office.share, "/f", b"x")
    office.carry_all()
    clock.now += CONFIRM_AFTER + 1
    store.fail = lambda verb, path: error
    run(office)
    store.fail = lambda verb, path: None
    run(office)
    assert unconfirmed(office) == []


def test_a_store_that_is_down_is_not_asked(make_office: MakeOffice, clock: Clock) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, clock=clock)
    save(office.share, "/f", b"x")
    office.carry_all()
    store.requests.clear()
    clock.now += CONFIRM_AFTER + 1
    Upkeep(office.share).run(NEVER, store_is_down=True)
    assert store.requests == []


def test_it_ends_when_it_is_told_to(make_office: MakeOffice, clock: Clock) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, clock=clock)
    for number in range(20):
        office.share.make_folder(f"/{number}")
        save(office.share, f"/{number}/f", b"x")
    office.carry_all()
    store.requests.clear()
    clock.now += CONFIRM_AFTER + 1
    stop = threading.Event()

    def stop_after_three(verb: str, path: str) -> None:
        if store.count("list_pages") == 3:
            stop.set()
    store.fail = stop_after_three  # type: ignore[assignment]
    Upkeep(office.share).run(stop, store_is_down=False)
    assert store.verbs() == {"list_pages": 3}


def test_a_marker_goes_when_something_else_is_in_its_folder(make_office: MakeOffice, clock: Clock) -> None:
    bucket = Bucket()
    office = make_office(Observed(bucket), clock=clock)
    office.share.make_folder("/d")
    office.carry_all()
    assert set(bucket.objects) == {f"/d/{MARKER}"}
    run(office)
    assert set(bucket.objects) == {f"/d/{MARKER}"}
    save(office.share, "/d/f", b"x")
    office.carry_all()
    clock.now += CONFIRM_AFTER + 1
    run(office)
    office.carry_all()
    assert set(bucket.objects) == {"/d/f"}
    office.share.delete("/d/f")
    office.carry_all()
    assert set(bucket.objects) == {f"/d/{MARKER}"}
    assert office.share.find("/d") is not None
