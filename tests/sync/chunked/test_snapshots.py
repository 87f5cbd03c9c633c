"""Snapshots say what all entries together say."""

from __future__ import annotations

import contextlib

from davfusion.chunks import volume
from davfusion.chunks.image import Image
from davfusion.chunks.journal import Journal
from davfusion.store.errors import TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked.snapshots import Snapshots
from davfusion.sync.claims import SHARE
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office


def snapshots(office: Office) -> Snapshots:
    return office.engine._open().snapshots


def journal(office: Office) -> Journal:
    return Journal(office.store, office.index.view().operations.meta(SHARE) or "")


def filled(office: Office) -> Image:
    """A share with a little of everything; returns what its entries come to."""
    office.folder("/a")
    office.folder("/a/b")
    office.folder("/empty")
    for number in range(5):
        office.save(f"/a/{number}", b"%d" % number * 100)
    office.save("/large", b"1" * 1000 + b"2" * 700)
    office.save("/nothing", b"")
    office.colour("/", "<root/>")
    office.engine.run_due()
    office.colour("/a/1", "<one/>")
    office.share.move("/a/2", "/a/b/2", overwrite=False)
    office.share.copy("/a", "/copy", overwrite=False)
    office.share.delete("/a/3")
    office.save("/a/4", b"new")
    office.engine.run_due()
    return office.image()


def as_values(image: Image) -> tuple[object, object, object]:
    return image.nodes, image.contents, image.objects


def test_an_image_from_a_snapshot_is_the_one_from_the_entries(office: Office) -> None:
    entries = filled(office)
    number = snapshots(office).write()
    office.store.delete(volume.journal_path(1), is_dir=False)
    office.store.delete(volume.journal_path(2), is_dir=False)
    assert number == 2
    image = office.image()
    assert as_values(image) == as_values(entries)


def test_what_only_waits_is_in_no_snapshot(office: Office) -> None:
    before = filled(office)
    office.save("/later", b"1")
    office.store_contents()
    office.save("/a/0", b"changed")
    office.share.move("/large", "/moved", overwrite=False)
    office.share.delete("/a/b")
    snapshots(office).write()
    image = office.image()
    assert as_values(image) == as_values(before)


def test_an_object_that_is_to_go_is_named_until_it_is_released(office: Office) -> None:
    """A snapshot without it would leave it in the store for ever, once the share is recovered."""
    filled(office)
    office.share.delete("/large")
    office.engine.run_due()
    office.engine._upkeep.collect()
    assert office.now is not None
    office.now += 4000
    office.engine._open().collector.condemn()
    snapshots(office).write()
    head = journal(office).head()
    for number in head.journal_numbers:
        office.store.delete(volume.journal_path(number), is_dir=False)
    blocks = {path for path in office.image().objects if volume.parse_block(path)}
    assert len(blocks) == 2
    office.engine.run_due()
    assert not {path for path in office.image().objects if volume.parse_block(path)}


def test_no_snapshot_is_written_while_an_entry_is_in_doubt(make_office: MakeOffice) -> None:
    failing: list[bool] = []

    def fault(call: Call) -> Fault | None:
        return Fault(after=TemporaryError("planned")) if failing and call.path.startswith("/journal/0") else None
    office = make_office(FaultyStore(MemoryStore(), fault))
    filled(office)
    failing.append(True)
    office.folder("/more")
    with contextlib.suppress(TemporaryError):
        office.engine.run_due()
    assert snapshots(office).write() is None
    failing.clear()
    office.engine.run_due()
    assert snapshots(office).write() == 3


def test_two_snapshots_stay_and_the_entries_since_the_older(office: Office) -> None:
    for number in range(6):
        office.folder(f"/{number}")
        office.engine.run_due()
        if number % 2:
            snapshots(office).write()
    head = journal(office).head()
    assert (head.snapshot_numbers, head.journal_numbers) == ((4, 6), (5, 6))
    office.store.delete(volume.snapshot_path(6), is_dir=False)
    assert len(office.recovered()) == 6


def test_a_snapshot_is_due_when_the_entries_cost_more(office: Office) -> None:
    office.engine._open()
    for number in range(256):
        assert not snapshots(office).due()
        office.folder(f"/{number}")
        office.engine.run_due()
    assert snapshots(office).due()
    snapshots(office).write()
    assert not snapshots(office).due()


def test_a_snapshot_that_the_store_lost_is_written_again(make_office: MakeOffice) -> None:
    lost: list[str] = []

    def fault(call: Call) -> Fault | None:
        if call.verb == "store_fileobject" and call.path.startswith("/snapshots/") and not lost:
            lost.append(call.path)
            return Fault(lost=True)
        return None
    office = make_office(FaultyStore(MemoryStore(), fault))
    entries = filled(office)
    with contextlib.suppress(TemporaryError):
        snapshots(office).write()
    assert journal(office).head().snapshot_numbers == ()
    assert snapshots(office).write() == 2
    assert as_values(office.image()) == as_values(entries)
