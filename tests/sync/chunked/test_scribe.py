"""Entries of the journal that may or may not have been written."""

from __future__ import annotations

import dataclasses

import pytest

from davfusion.chunks import volume
from davfusion.chunks.errors import DamagedError, EntryTakenError
from davfusion.chunks.lines import ContentLine
from davfusion.store.errors import StoreError, TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked.scribe import PENDING, record_facts
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office


class Journalling:
    """Fails the writing of entries while told to."""

    def __init__(self) -> None:
        self.fault: Fault | None = None

    def __call__(self, call: Call) -> Fault | None:
        writes = call.verb == "store_fileobject" and call.path.startswith("/journal/")
        return self.fault if writes else None


@pytest.fixture
def journalling() -> Journalling:
    return Journalling()


@pytest.fixture
def failing(make_office: MakeOffice, journalling: Journalling) -> Office:
    office = make_office(FaultyStore(MemoryStore(), journalling))
    office.engine._open()
    return office


def test_an_entry_whose_answer_was_lost_is_recorded_and_what_came_since_follows(
        failing: Office, journalling: Journalling) -> None:
    failing.save("/x", b"1")
    journalling.fault = Fault(after=TemporaryError("planned"))
    with pytest.raises(TemporaryError):
        failing.engine.run_due()
    failing.save("/y", b"2")
    failing.share.move("/x", "/z", overwrite=False)
    with pytest.raises(TemporaryError):  # the first entry is found, and the next fails in the same way
        failing.engine.run_due()
    journalling.fault = None
    failing.engine.run_due()
    assert failing.recovered() == {"/z": b"1", "/y": b"2"}
    assert failing.index.view().nodes.count_dirty() == (0, 0)


def test_an_entry_that_nobody_needs_any_more_is_found_all_the_same(failing: Office, journalling: Journalling) -> None:
    """What it said was undone here while its fate was not known: the store kept it."""
    failing.folder("/a")
    failing.engine.run_due()
    failing.share.move("/a", "/b", overwrite=False)
    journalling.fault = Fault(after=TemporaryError("planned"))
    with pytest.raises(TemporaryError):
        failing.engine.run_due()
    failing.share.move("/b", "/a", overwrite=False)
    journalling.fault = None
    assert not failing.cut()
    failing.engine.run_due()
    assert failing.recovered() == {"/a": None}
    assert not failing.engine._open().scribe.is_in_doubt


def test_an_entry_that_was_not_written_is_not_believed(failing: Office, journalling: Journalling) -> None:
    failing.save("/x", b"1")
    journalling.fault = Fault(before=TemporaryError("planned"))
    with pytest.raises(TemporaryError):
        failing.engine.run_due()
    assert failing.index.view().nodes.count_dirty() == (1, 0)
    journalling.fault = None
    failing.engine.run_due()
    assert failing.recovered() == {"/x": b"1"}


def test_a_crash_between_entry_and_facts_is_caught_up(failing: Office, journalling: Journalling,
                                                       make_office: MakeOffice) -> None:
    failing.save("/x", b"1")
    journalling.fault = Fault(after=TemporaryError("planned"))
    with pytest.raises(TemporaryError):
        failing.engine.run_due()
    failing.close()
    again = make_office(failing.store)
    again.save("/x", b"22")
    again.engine._upkeep.collect()
    again.engine._open()
    (node,) = [record for record, _ in again.index.view().nodes.subtree(1)]
    assert node.is_synced and node.dirty
    assert again.index.view().contents.get(node.synced_content or 0) is not None, "forgotten, but the journal has it"
    assert again.recovered() == {"/x": b"1"}
    journalling.fault = None
    again.engine.run_due()
    assert again.recovered() == {"/x": b"22"}


def test_contents_of_an_entry_in_doubt_stay_and_others_go(failing: Office, journalling: Journalling) -> None:
    failing.save("/x", b"1")
    journalling.fault = Fault(before=TemporaryError("planned"))
    with pytest.raises(TemporaryError):
        failing.engine.run_due()
    failing.save("/y", b"2")
    failing.share.delete("/x")
    failing.share.delete("/y")
    assert failing.engine._upkeep.collect() == 1
    journalling.fault = None
    failing.engine.run_due()
    assert failing.engine._upkeep.collect() == 1


def test_somebody_elses_entry_stops_everything_and_people_are_told(make_office: MakeOffice) -> None:
    office = make_office()
    office.save("/x", b"1")
    office.engine.run_due()
    other = office.index.view().operations.meta("share")
    path = volume.journal_path(2)
    office.store.store_fileobject(_foreign_entry(other or "", 2), path)
    before = office.store.get_file(path)
    node = office.save("/y", b"2")
    with pytest.raises(EntryTakenError, match="elsewhere"):
        office.engine.run_due()
    with pytest.raises(EntryTakenError):
        office.engine.run_due()
    assert office.store.get_file(path) == before and not office.store.exists(volume.journal_path(3))
    office.engine._refuse(EntryTakenError(2, "elsewhere", "0" * 32))
    record = office.index.view().nodes.get(node)
    assert record is not None and "elsewhere" in (record.problem or "")
    assert office.read("/y") == b"2"


def test_a_store_that_was_set_back_is_not_written_to(make_office: MakeOffice) -> None:
    office = make_office()
    office.save("/x", b"1")
    office.engine.run_due()
    office.close()
    office.store.delete(volume.journal_path(1), is_dir=False)
    again = make_office(office.store)
    again.save("/y", b"2")
    with pytest.raises(DamagedError, match="missing"):
        again.engine.run_due()
    assert not again.store.exists(volume.journal_path(2))


def test_a_content_that_lies_elsewhere_by_now_is_told_again(office: Office) -> None:
    """Data loss: the old place counted as told, was released and deleted, and the journal named nothing else."""
    office.save("/x", b"1")
    office.engine.run_due()
    content = office.share.find("/x").content or 0  # type: ignore[union-attr]
    view = office.index.view()
    (place,) = view.objects.places(content)
    size, sha256 = 1, None
    elsewhere = volume.archive_path(volume.new_archive_id())
    office.index.write(lambda view: view.objects.insert(
        elsewhere, size=10, payload=1, sha256=None, state="held", now=0.0, journalled=False))
    office.index.write(lambda view: view.objects.keep(content, sha256, [place._replace(path=elsewhere)]))
    old = ContentLine(content, size, sha256, tuple(dataclasses.replace(part) for part in _parts(place)))
    office.index.write(lambda view: record_facts(view, [old]))
    assert [line.content for line in office.cut().contents] == [content]
    office.index.write(lambda view: record_facts(view, office.cut().contents))
    assert not office.cut().contents


def test_facts_recorded_twice_are_recorded_once(office: Office) -> None:
    office.engine._open()
    office.folder("/a")
    office.save("/a/x", b"1")
    office.store_contents()
    news = office.cut()
    for _ in range(2):
        office.index.write(lambda view: record_facts(view, news.lines()))
    assert not office.cut()


def test_no_transaction_waits_for_the_store(failing: Office, journalling: Journalling) -> None:
    journalling.fault = Fault(before=StoreError("planned"))
    failing.save("/x", b"1")
    with pytest.raises(StoreError):
        failing.engine.run_due()
    assert failing.index.view().operations.meta(PENDING)
    failing.save("/y", b"2")  # nothing is held


def _parts(place):  # type: ignore[no-untyped-def]
    from davfusion.cache.parts import part_of
    return [part_of(place)]


def _foreign_entry(share: str, number: int):  # type: ignore[no-untyped-def]
    import io

    from davfusion.chunks.entry import EntryWriter, Header
    file = io.BytesIO()
    writer = EntryWriter(file, Header(kind="journal", number=number, share=share, writer="elsewhere", id="0" * 32,
                                      written=0.0))
    writer.finish()
    file.seek(0)
    return file
