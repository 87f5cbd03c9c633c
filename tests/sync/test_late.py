"""Requests that take effect after somebody looked and saw nothing of them: their process died, or did not wait."""

from __future__ import annotations

import dataclasses
import io

import pytest

from davfusion.cache.index import Kind
from davfusion.cache.node import ROOT_ID
from davfusion.store.errors import (
    OutOfSpaceError,
    RateLimitedError,
    StoreError,
    TemporaryError,
    TransferInterruptedError,
)
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.interface import Capabilities, Store
from davfusion.store.memory import MemoryStore
from davfusion.sync.upkeep import LATE_MEMORY
from tests.model.bucket import MARKER, Bucket
from tests.sync.conftest import MakeOffice
from tests.sync.world import Office, save, stored

LATE = Fault(late=True)


class Slow(FaultyStore):
    """The next request of a kind comes late."""

    def __init__(self, inside: Store) -> None:
        super().__init__(inside, self._plan)
        self.inside = inside
        self._verb: str | None = None
        self._held = LATE

    def hold(self, verb: str, fault: Fault = LATE) -> None:
        self._verb, self._held = verb, fault

    def _plan(self, call: Call) -> Fault | None:
        if call.verb != self._verb:
            return None
        self._verb = None
        return self._held


class Careless(MemoryStore):
    """Takes whatever comes, also where it should look first."""

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, conditional_write=False)

    def store_fileobject(self, fileobject, path, *, condition=None, modified=None,  # type: ignore[no-untyped-def]
                         interrupt=None):
        return super().store_fileobject(fileobject, path, modified=modified, interrupt=interrupt)


class Place:
    """A share whose engine and listings are run by hand."""

    def __init__(self, office: Office, store: Slow, now: list[float]) -> None:
        self.office, self.share, self.store, self.inside, self._now = office, office.share, store, store.inside, now

    def lose_sight_of(self, verb: str, fault: Fault = LATE) -> None:
        """Carry what is to be carried; the next request of the kind is on its way, and nothing is seen of it."""
        self.store.hold(verb, fault)
        self.office.engine.run_due()
        assert self.share.index.view().operations.open(), f"{verb} was not asked"
        self.share.index.write(lambda view: view.nodes.hasten_failed(view.now()))

    def look(self) -> None:
        """See that the request has no effect, before anything else is done."""
        self.office.engine.run_due(limit=1)
        assert not self.share.index.view().operations.open(), "still in doubt"

    def carry(self, seconds: float = 0.0) -> None:
        """Time passes, and all is carried, listed and carried again."""
        self._now[0] += seconds
        for _ in range(4):
            self.share.index.write(lambda view: view.nodes.hasten_failed(view.now()))
            self.office.engine.run_due()
            self.list_all()
        self.office.carry_all()

    def list_all(self) -> None:
        pending = [ROOT_ID]
        while pending:
            folder = pending.pop()
            record = self.share.index.view().nodes.get(folder)
            if record is not None and record.is_synced:
                self.share.lister.refresh(folder)
                pending += [child.id for child in self.share.index.view().nodes.children(folder) if child.is_folder]

    def tree(self) -> dict[str, bytes | None]:
        """What clients see, without asking the store."""
        found: dict[str, bytes | None] = {}
        view = self.share.index.view()
        for record, path in list(view.nodes.subtree(ROOT_ID)):
            found[path] = None
            if not record.is_folder:
                with self.share.open(view.node(record, path)) as reader:
                    found[path] = reader.read()
        return found

    def assert_holds(self, expected: dict[str, bytes | None]) -> None:
        assert self.tree() == expected
        assert stored(self.inside) == expected

    def deliver(self, expected: dict[str, bytes | None], *, removes: bool = False) -> None:
        """The late request comes; clients see what is expected all the time, and in the end the store has it."""
        self.store.deliver()
        assert (stored(self.inside) == {}) is removes
        self.list_all()
        assert self.tree() == expected
        self.carry()
        self.assert_holds(expected)

    def evict(self) -> None:
        self.share.space.evict(10**12)


@pytest.fixture(params=["folders", "bucket"])
def inside(request: pytest.FixtureRequest) -> Store:
    return MemoryStore() if request.param == "folders" else Bucket()


@pytest.fixture
def place(make_office: MakeOffice, inside: Store) -> Place:
    return make(make_office, inside)


@pytest.fixture
def bucket_place(make_office: MakeOffice) -> Place:
    return make(make_office, Bucket())


def make(make_office: MakeOffice, inside: Store) -> Place:
    now = [1_000_000.0]
    store = Slow(inside)
    return Place(make_office(store, clock=lambda: now[0]), store, now)


# -- uploads -------------------------------------------------------------------------------------------


def test_a_file_that_was_deleted_meanwhile_does_not_come_back(place: Place) -> None:
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.share.delete("/f")
    place.look()
    place.carry()
    place.deliver({})


def test_a_folder_that_was_deleted_meanwhile_does_not_come_back(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    save(place.share, "/d/a", b"a")
    place.carry()
    save(place.share, "/d/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.share.delete("/d")
    place.look()
    place.deliver({})


def test_a_folder_that_went_meanwhile_is_not_brought_back_by_a_file(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    place.share.make_folder("/d/e")
    save(place.share, "/d/e/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.share.delete("/d")
    place.look()
    place.carry()
    place.deliver({})


def test_a_version_that_was_replaced_meanwhile_is_no_conflict(place: Place) -> None:
    save(place.share, "/f", b"first")
    place.lose_sight_of("store_fileobject")
    save(place.share, "/f", b"other")
    place.look()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/f": b"other"})


def test_a_newer_version_is_not_replaced_by_a_late_one(make_office: MakeOffice) -> None:
    place = make(make_office, Careless())
    save(place.share, "/f", b"first")
    place.lose_sight_of("store_fileobject")
    save(place.share, "/f", b"other")
    place.carry()
    place.evict()
    place.deliver({"/f": b"other"})


def test_of_two_late_versions_of_the_same_size_neither_is_somebody_elses(make_office: MakeOffice) -> None:
    place = make(make_office, Careless())
    save(place.share, "/f", b"one")
    place.lose_sight_of("store_fileobject")
    save(place.share, "/f", b"two")
    place.look()
    place.lose_sight_of("store_fileobject")
    place.share.delete("/f")
    place.look()
    place.store.deliver()
    place.carry()
    place.assert_holds({})


def test_a_file_that_was_renamed_meanwhile_is_one_file(place: Place) -> None:
    save(place.share, "/f", b"old")
    place.carry()
    save(place.share, "/f", b"new")
    place.lose_sight_of("store_fileobject")
    place.share.move("/f", "/g", overwrite=True)
    place.look()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/g": b"new"})


def test_a_file_that_was_renamed_and_carried_meanwhile_is_one_file(place: Place) -> None:
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.share.move("/f", "/g", overwrite=True)
    place.carry()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/g": b"data"})


def test_what_somebody_else_wrote_at_its_place_is_theirs(place: Place) -> None:
    save(place.share, "/f", b"our1")
    place.lose_sight_of("store_fileobject")
    place.share.delete("/f")
    place.look()
    place.inside.store_fileobject(io.BytesIO(b"them"), "/f")
    place.carry()
    place.assert_holds({"/f": b"them"})


def test_a_folder_that_somebody_else_made_at_its_place_is_theirs(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    save(place.share, "/d/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.share.delete("/d")
    place.look()
    place.carry()
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d/other")
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})
    place.store.deliver()
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})


# -- folders -------------------------------------------------------------------------------------------


def test_a_folder_that_is_made_late_goes_again(place: Place) -> None:
    place.share.make_folder("/d")
    place.lose_sight_of("keep_directory")
    place.share.delete("/d")
    place.look()
    place.carry()
    place.deliver({})


def test_a_folder_that_is_made_late_stays_where_somebody_put_a_file_into_it(place: Place) -> None:
    place.share.make_folder("/d")
    place.lose_sight_of("keep_directory")
    place.share.delete("/d")
    place.look()
    place.carry()
    place.store.deliver()
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d/other")
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})


def test_a_folder_that_was_renamed_meanwhile_is_one_folder(place: Place) -> None:
    place.share.make_folder("/d")
    place.lose_sight_of("keep_directory")
    place.share.move("/d", "/e", overwrite=True)
    place.carry()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/e": None})


# -- removals ------------------------------------------------------------------------------------------


def test_a_file_that_took_the_place_meanwhile_is_not_removed(place: Place) -> None:
    save(place.share, "/f", b"old")
    place.carry()
    place.share.delete("/f")
    place.lose_sight_of("delete")
    save(place.share, "/f", b"new")
    place.carry()
    place.evict()
    place.deliver({"/f": b"new"}, removes=True)


def test_a_file_that_was_moved_back_meanwhile_is_not_lost(bucket_place: Place) -> None:
    """Its bytes are in the store only, where they are about to be removed."""
    place = bucket_place
    save(place.share, "/f", b"data")
    place.carry()
    place.evict()
    place.share.move("/f", "/g", overwrite=True)
    place.lose_sight_of("delete")
    place.share.move("/g", "/f", overwrite=True)
    place.carry()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/f": b"data"})


def test_a_folder_that_took_the_place_meanwhile_is_not_removed(place: Place) -> None:
    place.share.make_folder("/d")
    place.carry()
    place.share.delete("/d")
    place.lose_sight_of("delete_empty_directory")
    place.share.make_folder("/d")
    place.carry()
    place.deliver({"/d": None}, removes=True)


def test_a_folder_does_not_go_with_a_marker_that_was_not_needed(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    place.carry()
    save(place.share, "/d/f", b"data")
    place.carry()
    place.store.hold("delete_empty_directory")
    with pytest.raises(Exception, match="later"):
        place.office.engine.tidy()
    place.share.delete("/d/f")
    place.carry()
    assert f"/d/{MARKER}" in place.inside.objects  # type: ignore[attr-defined]
    place.deliver({"/d": None}, removes=True)


# -- what is over --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RateLimitedError("Slow down"), TransferInterruptedError("The file changed"),
                                   OutOfSpaceError("Full")])
def test_what_is_over_does_not_come_late(place: Place, error: StoreError) -> None:
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject", Fault(before=error))
    place.look()
    assert place.share.index.view().operations.late_on("/f") == []


def test_what_nobody_knows_of_may_come_late(place: Place) -> None:
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject", Fault(before=TemporaryError("Connection reset")))
    place.look()
    assert [operation.path for operation in place.share.index.view().operations.late_on("/f")] == ["/f"]


# -- memory --------------------------------------------------------------------------------------------


def test_the_bytes_of_a_late_write_are_kept_until_it_cannot_come_any_more(place: Place) -> None:
    save(place.share, "/f", b"data" * 10)
    place.lose_sight_of("store_fileobject")
    (operation,) = place.share.index.view().operations.open()
    assert operation.kind is Kind.WRITE and operation.content is not None
    place.share.delete("/f")
    place.look()
    place.carry(LATE_MEMORY - 1)
    place.office.engine.tidy()
    assert place.share.index.view().contents.get(operation.content) is not None
    place.carry(2)
    place.office.engine.tidy()
    assert place.share.index.view().contents.get(operation.content) is None


def test_a_file_is_sure_again_when_no_request_can_come_any_more(place: Place) -> None:
    save(place.share, "/f", b"old")
    place.carry()
    place.share.delete("/f")
    place.lose_sight_of("delete")
    save(place.share, "/f", b"new")
    place.carry()
    assert not place.office.record("/f").confirmed
    place.carry(LATE_MEMORY + 1)
    place.office.engine.tidy()
    place.list_all()
    assert place.office.record("/f").confirmed
