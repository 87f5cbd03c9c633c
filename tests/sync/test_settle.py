"""Writes in doubt: each kind, when it happened, when it did not, and when somebody else was there."""

from __future__ import annotations

import threading

import pytest

from davfusion.store.errors import ConflictError, NotFoundError, PermissionDeniedError, StoreError, TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.interface import Store
from davfusion.store.memory import MemoryStore
from tests.model.bucket import Bucket
from tests.sync.conftest import MakeOffice
from tests.sync.world import Observed, Office, save, somebody_writes, stored, until


class Moments(FaultyStore):
    """Fails once at a verb, before or after its effect; meanwhile somebody may do something to the store."""

    def __init__(self, inside: Store) -> None:
        super().__init__(inside, self._plan)
        self.inside = inside
        self._verb, self._next = "", Fault()
        self.asked: list[str] = []

    def arm(self, verb: str, fault: Fault) -> None:
        """Let the next request of the kind fail."""
        self._verb, self._next = verb, fault

    def _plan(self, call: Call) -> Fault | None:
        self.asked.append(call.verb)
        if call.verb != self._verb:
            return None
        self._verb = ""
        return self._next


BEFORE = Fault(before=TemporaryError("Connection reset"))
AFTER = Fault(after=TemporaryError("Connection reset"))
FAULTS = pytest.mark.parametrize("fault", [BEFORE, AFTER], ids=["not done", "done"])


def make(make_office: MakeOffice, inside: Store) -> tuple[Office, Moments]:
    store = Moments(inside)
    now = [1_000_000.0]
    office = make_office(store, clock=lambda: now[0])
    office.now = now  # type: ignore[attr-defined]
    return office, store


def stumble(office: Office) -> None:
    """Work until the fault; something is in doubt then."""
    office.engine.run_due()
    assert office.share.index.view().operations.open(), "nothing is in doubt"


def go_on(office: Office) -> None:
    """Work until nothing is left, retries too."""
    for _ in range(10):
        office.now[0] += 400.0  # type: ignore[attr-defined]
        office.engine.run_due()
    assert office.settled(), office.share.index.view().nodes.dirty(10)


@FAULTS
def test_an_upload(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"data")
    store.arm("store_fileobject", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {"/f": b"data"}
    assert store.asked.count("store_fileobject") == (1 if fault is AFTER else 2)


@FAULTS
def test_an_upload_of_an_empty_file(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"")
    store.arm("store_fileobject", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {"/f": b""}


@FAULTS
def test_an_overwrite(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"old")
    office.carry_all()
    save(office.share, "/f", b"new")
    store.arm("store_fileobject", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {"/f": b"new"}


@FAULTS
def test_an_overwrite_after_which_somebody_else_wrote_too(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"old")
    office.carry_all()
    save(office.share, "/f", b"ours")
    store.arm("store_fileobject", fault)
    stumble(office)
    somebody_writes(store.inside, "/f", b"theirs")
    go_on(office)
    found = stored(store.inside)
    assert found["/f"] == b"theirs"
    assert sorted(value for value in found.values() if value) == [b"ours", b"theirs"]


def test_an_upload_where_somebody_else_wrote_the_same(make_office: MakeOffice) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"data")
    somebody_writes(store.inside, "/f", b"data")
    go_on(office)
    assert stored(store.inside) == {"/f": b"data"}


def test_an_upload_where_somebody_else_wrote_as_many_bytes(make_office: MakeOffice) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"ours!!")
    store.arm("store_fileobject", BEFORE)
    stumble(office)
    somebody_writes(store.inside, "/f", b"theirs")
    go_on(office)
    assert sorted(stored(store.inside).values()) == [b"ours!!", b"theirs"]  # type: ignore[type-var]


@FAULTS
def test_an_upload_of_what_was_saved_again_since(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"first")
    store.arm("store_fileobject", fault)
    stumble(office)
    save(office.share, "/f", b"second")
    go_on(office)
    assert stored(store.inside) == {"/f": b"second"}


@FAULTS
@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_an_upload_of_what_was_deleted_since(make_office: MakeOffice, fault: Fault, inside: type[Store]) -> None:
    office, store = make(make_office, inside())
    save(office.share, "/f", b"first")
    store.arm("store_fileobject", fault)
    stumble(office)
    office.share.delete("/f")
    go_on(office)
    assert stored(store.inside) == {}


@FAULTS
def test_a_rename(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"data")
    office.carry_all()
    office.share.move("/f", "/g", overwrite=False)
    store.arm("move", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {"/g": b"data"}


@FAULTS
def test_a_rename_back_since(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"data")
    office.carry_all()
    office.share.move("/f", "/g", overwrite=False)
    store.arm("move", fault)
    stumble(office)
    office.share.move("/g", "/f", overwrite=False)
    go_on(office)
    assert stored(store.inside) == {"/f": b"data"}


@FAULTS
def test_a_copy_in_the_store(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, Bucket())
    save(office.share, "/f", b"d" * 1_500_000)
    office.carry_all()
    office.share.copy("/f", "/g", overwrite=False)
    store.arm("duplicate", fault)
    stumble(office)
    go_on(office)
    assert set(stored(store.inside)) == {"/f", "/g"}


@FAULTS
@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_a_delete(make_office: MakeOffice, fault: Fault, inside: type[Store]) -> None:
    office, store = make(make_office, inside())
    save(office.share, "/f", b"data")
    office.carry_all()
    office.share.delete("/f")
    store.arm("delete", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {}


@FAULTS
def test_a_delete_after_which_somebody_wrote(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"data")
    office.carry_all()
    office.share.delete("/f")
    store.arm("delete", fault)
    stumble(office)
    somebody_writes(store.inside, "/f", b"theirs")
    go_on(office)
    assert stored(store.inside) == {"/f": b"theirs"}


@FAULTS
@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_a_new_folder(make_office: MakeOffice, fault: Fault, inside: type[Store]) -> None:
    office, store = make(make_office, inside())
    office.share.make_folder("/d")
    store.arm("keep_directory", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {"/d": None}


@FAULTS
def test_a_renamed_folder(make_office: MakeOffice, fault: Fault) -> None:
    office, store = make(make_office, MemoryStore())
    office.share.make_folder("/d")
    save(office.share, "/d/f", b"data")
    office.carry_all()
    office.share.move("/d", "/e", overwrite=False)
    save(office.share, "/e/g", b"more")
    store.arm("move", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {"/e": None, "/e/f": b"data", "/e/g": b"more"}
    assert store.asked.count("store_fileobject") == 2


@FAULTS
@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_a_deleted_folder(make_office: MakeOffice, fault: Fault, inside: type[Store]) -> None:
    office, store = make(make_office, inside())
    office.share.make_folder("/d")
    office.carry_all()
    office.share.delete("/d")
    store.arm("unkeep_directory", fault)
    stumble(office)
    go_on(office)
    assert stored(store.inside) == {}


def test_a_restart_finds_what_is_in_doubt(make_office: MakeOffice) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"data")
    store.arm("store_fileobject", AFTER)
    stumble(office)
    office.share.delete("/f")
    again = make_office(store)
    again.engine.run_due()
    assert again.settled() and stored(store.inside) == {}


@pytest.mark.parametrize("error", [
    ConflictError("changed"), NotFoundError("gone"), TemporaryError("reset"), PermissionDeniedError("not now")])
def test_a_doubt_that_cannot_be_cleared_yet_stays_and_blocks_nothing_for_ever(
        make_office: MakeOffice, error: StoreError) -> None:
    office, store = make(make_office, MemoryStore())
    save(office.share, "/f", b"data")
    store.arm("store_fileobject", AFTER)
    stumble(office)
    store.arm("read", Fault(before=error))
    office.now[0] += 400.0  # type: ignore[attr-defined]
    office.engine.run_due()
    if office.record("/f").parked:
        assert isinstance(error, PermissionDeniedError)
        office.share.index.write(lambda view: view.nodes.unpark_all(view.now()))
    go_on(office)
    assert stored(store.inside) == {"/f": b"data"}


def test_a_folder_that_vanished_before_it_was_listed_parks_nothing(make_office: MakeOffice) -> None:
    inside = MemoryStore()
    somebody_writes(inside, "/d/f", b"theirs")
    office, store = make(make_office, inside)
    assert office.share.find("/d") is not None
    office.share.delete("/d")
    inside.delete("/d", is_dir=True)
    go_on(office)
    assert store.asked.count("list_pages") < 10


def test_a_marker_under_way_for_another_node_is_not_taken_for_done(make_office: MakeOffice) -> None:
    bucket = Bucket()
    store = Observed(bucket)
    office = make_office(store)
    office.share.make_folder("/d")
    save(office.share, "/d/f", b"data")
    office.carry_all()
    gate = threading.Event()
    store.hold = lambda verb, path: gate if verb == "keep_directory" else None
    with office.working():
        office.share.delete("/d/f")
        until(store.arrived.is_set)
        looked = store.count("get_metadata")
        folder = office.record("/d").id
        outcome = office.engine._carrier.carry(folder, threading.Event())
        assert store.count("get_metadata") == looked, f"it was looked for while it was being made: {outcome}"
        assert office.record("/d").synced_version is None
        gate.set()
        until(office.settled)
    assert stored(bucket) == {"/d": None}


def test_what_somebody_saves_where_a_renamed_folder_left_something_comes_back(make_office: MakeOffice) -> None:
    bucket = Bucket()
    store = Observed(bucket)
    now = [1_000_000.0]
    office = make_office(store, clock=lambda: now[0])
    office.now = now  # type: ignore[attr-defined]
    somebody_writes(bucket, "/old/f", b"first")
    assert office.share.find("/old/f") is not None
    office.share.move("/old", "/new", overwrite=False)
    store.fail = lambda verb, path: TemporaryError("Connection reset") if verb == "delete" else None
    office.engine.run_due()
    assert set(bucket.objects) == {"/old/f", "/new/f"}
    somebody_writes(bucket, "/old/f", b"second")
    store.fail = lambda verb, path: None
    go_on(office)
    now[0] += 1000.0
    assert office.share.find("/old/f") is not None
    assert stored(bucket) == {"/old": None, "/old/f": b"second", "/new": None, "/new/f": b"first"}


@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_what_is_refused_again_and_again_is_tried_seldom(make_office: MakeOffice, inside: type[Store]) -> None:
    store = Observed(inside())
    now = [1_000_000.0]
    office = make_office(store, clock=lambda: now[0])
    somebody_writes(store, "/f", b"first")
    assert office.share.find("/f") is not None
    office.share.delete("/f")
    store.fail = lambda verb, path: ConflictError("Another version", path) if verb == "delete" else None
    for _ in range(3):
        office.engine.run_due(limit=100)
        now[0] += 400.0
    assert store.count("delete") == 3


def test_what_moves_away_while_it_is_copied_is_not_taken_for_gone(make_office: MakeOffice) -> None:
    inside = MemoryStore()
    moments = Moments(inside)
    store = Observed(moments)
    now = [1_000_000.0]
    office = make_office(store, clock=lambda: now[0])
    office.now = now  # type: ignore[attr-defined]
    somebody_writes(inside, "/a", b"data")
    assert office.share.find("/a") is not None
    office.share.copy("/a", "/copy", overwrite=False)
    office.share.move("/a", "/moved", overwrite=False)
    moments.arm("move", AFTER)
    moved = office.record("/moved").id

    def meanwhile(verb: str, path: str) -> StoreError | None:
        if verb == "duplicate" and "/a" in stored(inside):
            office.engine._carrier.carry(moved, threading.Event())
        return None
    store.fail = meanwhile
    office.engine._carrier.carry(office.record("/copy").id, threading.Event())
    assert office.share.find("/moved") is not None, "an acknowledged file went"
    go_on(office)
    assert stored(inside) == {"/moved": b"data", "/copy": b"data"}
