"""Who may write: nobody writes or deletes without the lease."""

from __future__ import annotations

import threading

import pytest

from davfusion.cache.index.objects import DELETING
from davfusion.chunks import volume
from davfusion.chunks.errors import LeaseHeldError, LeaseLostError
from davfusion.chunks.lease import Lease
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked import tenure
from davfusion.sync.chunked.tenure import Tenure
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office
from tests.sync.world import until


def stolen(office: Office) -> None:
    """Somebody else takes the lease, as after a long silence of ours."""
    office.store.delete(volume.LEASE, is_dir=False)
    Lease(office.store, owner="other", host="elsewhere", clock=office.index.now).acquire()


def test_the_end_gives_the_lease_back_and_an_abandoned_one_stays(make_office: MakeOffice) -> None:
    office = make_office()
    held = Tenure(office.store, office.index, host="here")
    held.begin()
    assert held.is_held and office.store.exists(volume.LEASE)
    held.abandon()
    assert office.store.exists(volume.LEASE)
    held.end()
    assert not office.store.exists(volume.LEASE)


def test_another_state_directory_is_refused(make_office: MakeOffice) -> None:
    store = MemoryStore()
    first, second = make_office(store, now=None), make_office(store, state="second", now=None)
    first.save("/x", b"1")
    first.engine._open()
    second.save("/y", b"2")
    with pytest.raises(LeaseHeldError, match="Another davfusion"):
        second.engine.run_due()
    first.engine._leave()
    second.engine.run_due()
    assert second.recovered() == {"/y": b"2"}


def test_a_lost_lease_stops_writing_and_deleting(make_office: MakeOffice) -> None:
    office = make_office(now=None)
    office.save("/x", b"1")
    office.engine.run_due()
    volume_ = office.engine._open()
    (archive,) = list(office.image().objects)
    office.index.write(lambda view: view.objects.insert(
        volume.archive_path("0" * 32), size=1, payload=1, sha256=None, state=DELETING, now=0.0, journalled=False))
    stolen(office)
    with pytest.raises(LeaseLostError):
        volume_.tenure._renew()
    assert volume_.collector.delete(threading.Event()) == 0
    node = office.save("/y", b"2")
    with pytest.raises(LeaseLostError):
        office.engine.run_due()
    assert office.recovered() == {"/x": b"1"}
    office.engine._refuse(LeaseLostError())
    with pytest.raises(LeaseHeldError):
        office.engine.run_due()
    record = office.index.view().nodes.get(node)
    assert record is not None and "taken over" in (record.problem or "")
    assert office.store.exists(archive)


def test_nothing_is_written_after_a_long_sleep_before_the_lease_is_renewed(
        make_office: MakeOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    office = make_office(now=None)
    office.save("/x", b"1")
    office.engine.run_due()
    awake = tenure._running()
    monkeypatch.setattr(tenure, "_running", lambda: awake + 3600)
    office.save("/y", b"2")
    office.engine.run_due()
    assert office.recovered() == {"/x": b"1", "/y": b"2"}
    monkeypatch.setattr(tenure, "_running", lambda: awake + 7200)
    stolen(office)
    office.save("/z", b"3")
    with pytest.raises(LeaseLostError):
        office.engine.run_due()
    assert office.recovered() == {"/x": b"1", "/y": b"2"}


def test_it_is_renewed_by_itself(make_office: MakeOffice) -> None:
    office = make_office(now=None)
    held = Tenure(office.store, office.index, host="here", seconds=60.0, renew_every=0.02)
    held.begin()
    first = office.store.get_metadata(volume.LEASE).version
    until(lambda: office.store.get_metadata(volume.LEASE).version != first)
    stolen(office)
    until(lambda: held.lost is not None)
    assert not held.is_held
    held.end()
    assert office.store.exists(volume.LEASE), "that of another was removed"
