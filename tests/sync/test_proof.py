"""A store that lost a write it acknowledged costs nothing, even when the bytes are not here any more."""

from __future__ import annotations

from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from tests.model.bucket import Bucket
from tests.sync.conftest import MakeOffice
from tests.sync.world import Observed, Office, save, somebody_writes, stored

DATA = b"d" * 1_500_000


class Liar(FaultyStore):
    """Says that copies were made, and makes none, while it lies."""

    lies = False

    def __init__(self) -> None:
        super().__init__(Bucket(), self._plan)

    def _plan(self, call: Call) -> Fault | None:
        return Fault(lost=True) if self.lies and call.verb == "duplicate" else None


def copied_and_evicted(office: Office, store: Liar, *, lies: bool) -> None:
    save(office.share, "/original", DATA)
    office.carry_all()
    office.engine.tidy()
    office.share.copy("/original", "/copy", overwrite=False)
    store.lies = lies
    office.carry_all()
    store.lies = False
    office.share.space.evict(10**12)
    content = office.share.index.view().contents.get(office.record("/copy").content or 0)
    assert content is not None and not content.whole


def test_the_original_is_deleted_only_when_the_copy_is_really_there(make_office: MakeOffice) -> None:
    store = Liar()
    office = make_office(store)
    copied_and_evicted(office, store, lies=True)
    office.share.delete("/original")
    office.carry_all()
    assert stored(store) == {"/copy": DATA}


def test_the_original_is_overwritten_only_when_the_copy_is_really_there(make_office: MakeOffice) -> None:
    store = Liar()
    office = make_office(store)
    copied_and_evicted(office, store, lies=True)
    save(office.share, "/original", b"new")
    office.carry_all()
    assert stored(store) == {"/copy": DATA, "/original": b"new"}


def test_a_copy_that_is_there_costs_one_look(make_office: MakeOffice) -> None:
    store = Liar()
    office = make_office(Observed(store))
    copied_and_evicted(office, store, lies=False)
    office.store.requests.clear()  # type: ignore[attr-defined]
    office.share.delete("/original")
    office.carry_all()
    assert office.store.verbs() == {"get_metadata": 1, "delete": 1}  # type: ignore[attr-defined]
    assert stored(store) == {"/copy": DATA}


def test_a_copy_that_somebody_replaced_is_theirs(make_office: MakeOffice) -> None:
    store = Liar()
    office = make_office(store)
    copied_and_evicted(office, store, lies=False)
    somebody_writes(store, "/copy", b"theirs")
    office.share.delete("/original")
    office.carry_all()
    assert stored(store) == {"/copy": b"theirs"}


def test_what_is_here_needs_no_look(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store)
    save(office.share, "/original", b"data")
    office.share.copy("/original", "/copy", overwrite=False)
    office.carry_all()
    store.requests.clear()
    office.share.delete("/original")
    office.carry_all()
    assert store.verbs() == {"delete": 1}
