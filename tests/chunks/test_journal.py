"""The journal over real stores: numbers are taken once, nothing that is missing or damaged goes unnoticed."""

import dataclasses
import gzip
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from davfusion.chunks import volume
from davfusion.chunks.errors import DamagedError, EntryTakenError, FormatError
from davfusion.chunks.image import load
from davfusion.chunks.journal import AHEAD, Head, Journal
from davfusion.store.errors import PermissionDeniedError, TemporaryError
from davfusion.store.faults import Fault, FaultyStore, no_faults
from davfusion.store.memory import MemoryStore
from davfusion.store.statistics import StatisticsStore
from tests.chunks.entries import SHARE, entry, header, node


def put(store, path, data):
    store.store_fileobject(io.BytesIO(data), path)


def append(journal, number, lines=None, head=None):
    head = head or header(number)
    lines = [node(number + 1)] if lines is None else lines
    journal.append(number, io.BytesIO(entry(lines, head)), head.id)
    return head


def snapshot(journal, number, share=SHARE):
    lines = [node(made + 1) for made in range(1, number + 1)]
    journal.write_snapshot(number, io.BytesIO(entry(lines, header(number, "snapshot", share=share))))


def filled(store, last, *snapshots):
    journal = Journal(store, SHARE)
    for number in range(1, last + 1):
        append(journal, number)
        if number in snapshots:
            snapshot(journal, number)
    return journal


def loaded(journal):
    image, number = load(journal)
    assert sorted(image.nodes) == list(range(2, number + 2))
    return number


def test_an_empty_store_has_an_empty_journal(plain):
    journal = Journal(plain, SHARE)
    assert journal.head() == Head(0, (), ())
    assert loaded(journal) == 0


def test_entries_and_snapshots_come_back(plain):
    journal = filled(plain, 3, 2)
    assert journal.head() == Head(3, (2,), (1, 2, 3))
    head, lines = journal.read(2)
    assert (head.number, head.share, lines) == (2, SHARE, [node(3)])
    assert [(head.number, lines) for head, lines in journal.entries_after(1)] == [(2, [node(3)]), (3, [node(4)])]
    assert loaded(journal) == 3


def test_a_taken_number_is_refused_and_says_by_whom(plain):
    journal = Journal(plain, SHARE)
    first = append(journal, 1, head=header(1, writer="attic"))
    with pytest.raises(EntryTakenError, match="attic") as caught:
        append(journal, 1, [])
    assert (caught.value.number, caught.value.writer, caught.value.entry_id) == (1, "attic", first.id)
    assert journal.read(1) == (first, [node(2)])


def test_our_own_entry_counts_as_written(plain):
    journal = Journal(plain, SHARE)
    head = append(journal, 1)
    append(journal, 1, head=head)
    assert journal.read(1) == (head, [node(2)])


def test_of_many_writers_of_a_number_one_wins(plain, backend):
    """rclone's server ignores conditions; there only the lease keeps writers apart."""
    if backend == "rclone":
        assert not plain.capabilities.conditional_write
        return
    heads = [header(1) for _ in range(8)]
    barrier = threading.Barrier(len(heads))

    def write(head):
        barrier.wait()
        try:
            append(Journal(plain, SHARE), 1, head=head)
            return True
        except EntryTakenError:
            return False

    with ThreadPoolExecutor(len(heads)) as pool:
        won = list(pool.map(write, heads))
    assert won.count(True) == 1
    assert Journal(plain, SHARE).read(1)[0] == heads[won.index(True)]


class Script:
    """A plan: faults for the next calls that store something."""

    def __init__(self, *faults):
        self.faults = list(faults)

    def __call__(self, call):
        return self.faults.pop(0) if call.verb == "store_fileobject" and self.faults else None


LOST_ANSWERS = {
    "before": Fault(before=TemporaryError("Planned")),
    "after": Fault(after=TemporaryError("Planned")),
    "cut": Fault(cut=10),
}


@pytest.mark.parametrize("fault", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
def test_an_append_of_unknown_effect_is_repeated(plain, fault):
    store = FaultyStore(plain, Script(fault))
    journal, head = Journal(store, SHARE), header(1)
    with pytest.raises(TemporaryError):
        append(journal, 1, head=head)
    append(journal, 1, head=head)
    with pytest.raises(EntryTakenError):
        append(journal, 1)
    assert journal.read(1) == (head, [node(2)])


def test_a_lost_write_shows_where_the_store_does_not_decide_itself():
    store = FaultyStore(Unconditional(MemoryStore()), Script(Fault(lost=True)))
    with pytest.raises(TemporaryError):
        append(Journal(store, SHARE), 1)


class Unconditional(FaultyStore):
    """A store that cannot decide conditions and overwrites."""

    def __init__(self, store):
        super().__init__(store, no_faults)

    @property
    def capabilities(self):
        return dataclasses.replace(super().capabilities, conditional_write=False)

    def store_fileobject(self, fileobject, path, *, condition=None, modified=None, interrupt=None):
        return super().store_fileobject(fileobject, path, modified=modified, interrupt=interrupt)


def test_an_entry_that_was_overwritten_at_once_is_noticed():
    inner = MemoryStore()
    other = header(1, writer="attic")

    class Overwritten(Unconditional):
        def store_fileobject(self, *arguments, **options):
            made = super().store_fileobject(*arguments, **options)
            put(inner, volume.journal_path(1), entry([], other))
            return made

    with pytest.raises(EntryTakenError) as caught:
        append(Journal(Overwritten(inner), SHARE), 1)
    assert caught.value.entry_id == other.id


def test_a_damaged_entry_in_the_place_is_damage():
    store = MemoryStore()
    put(store, volume.journal_path(1), b"")
    with pytest.raises(DamagedError):
        append(Journal(store, SHARE), 1)


def test_foreign_objects_are_passed_over(plain):
    journal = filled(plain, 2, 1)
    for path in ("/journal/notes.txt", "/journal/5.json.gz", "/snapshots/x/000000000009.json.gz", "/davfusion.json"):
        put(plain, path, b"x")
    assert journal.head() == Head(2, (1,), (1, 2))


@pytest.mark.parametrize(("snapshots", "gone"), [((), 1), ((), 2), ((2,), 3), ((1, 2), 3)])
def test_a_gap_is_damage_and_says_which_entry(plain, snapshots, gone):
    journal = filled(plain, 4, *snapshots)
    plain.delete(volume.journal_path(gone), is_dir=False)
    for attempt in (journal.head, lambda: list(journal.entries_after(0)), lambda: load(journal)):
        with pytest.raises(DamagedError) as caught:
            attempt()
        assert caught.value.path == volume.journal_path(gone)


def test_a_missing_entry_that_a_snapshot_made_needless_does_not_matter(plain):
    journal = filled(plain, 4, 2)
    plain.delete(volume.journal_path(1), is_dir=False)
    assert loaded(journal) == 4
    with pytest.raises(DamagedError):
        journal.entries_after(0)


def test_a_failing_listing_is_not_an_empty_journal():
    store = FaultyStore(MemoryStore(), lambda call: Fault(before=PermissionDeniedError("Planned")))
    with pytest.raises(PermissionDeniedError):
        Journal(store, SHARE).head()


def test_an_entry_that_fails_to_come_is_no_damage():
    store = FaultyStore(MemoryStore(), no_faults)
    journal = filled(store, 5)
    store.plan = lambda call: Fault(cut=20) if call.path == volume.journal_path(3) else None
    with pytest.raises(TemporaryError):
        load(journal)
    store.plan = no_faults
    assert loaded(journal) == 5


@pytest.mark.parametrize("data", [
    b"", entry([node(3)], header(2))[:-3], entry([node(3)], header(3)), entry([node(3)], header(2, "snapshot")),
    entry([node(3)], header(2, share="00" * 16))],
    ids=["empty", "cut", "other number", "other kind", "other share"])
def test_a_damaged_entry_is_told_by_its_path(data):
    store = MemoryStore()
    journal = filled(store, 3)
    put(store, volume.journal_path(2), data)
    for attempt in (lambda: journal.read(2), lambda: list(journal.entries_after(0)), lambda: load(journal)):
        with pytest.raises(DamagedError) as caught:
            attempt()
        assert caught.value.path == volume.journal_path(2)


def damage(store, *numbers):
    for number in numbers:
        put(store, volume.snapshot_path(number), store.get_file(volume.snapshot_path(number))[:-5])


def test_a_damaged_snapshot_gives_way_to_the_one_before(plain, caplog):
    journal = filled(plain, 6, 2, 4)
    damage(plain, 4)
    assert loaded(journal) == 6
    assert "snapshot passed over" in caplog.text
    damage(plain, 2)
    assert loaded(journal) == 6


def test_damaged_snapshots_without_the_entries_before_are_damage():
    store = MemoryStore()
    journal = filled(store, 6, 2, 4)
    store.delete(volume.journal_path(1), is_dir=False)
    damage(store, 2, 4)
    with pytest.raises(DamagedError) as caught:
        load(journal)
    assert caught.value.path == volume.snapshot_path(4)


def test_a_snapshot_whose_entries_are_gone_is_no_way_out():
    store = MemoryStore()
    journal = filled(store, 6, 2, 4)
    store.delete(volume.journal_path(3), is_dir=False)
    damage(store, 4)
    with pytest.raises(DamagedError) as caught:
        load(journal)
    assert caught.value.path == volume.snapshot_path(4)


def test_what_was_listed_and_is_gone_is_damage():
    store = MemoryStore()
    journal = filled(store, 3, 2)
    head = journal.head()
    store.delete(volume.journal_path(3), is_dir=False)
    for attempt in (lambda: journal.read(3), lambda: list(journal.entries_after(0, head))):
        with pytest.raises(DamagedError) as caught:
            attempt()
        assert caught.value.path == volume.journal_path(3)


def test_a_newer_snapshot_is_not_passed_over():
    store = MemoryStore()
    journal = filled(store, 4, 2)
    put(store, volume.snapshot_path(4), gzip.compress(b'{"format":2}\n'))
    with pytest.raises(FormatError):
        load(journal)


def test_before_a_damaged_entry_the_share_is_there_as_it_was():
    store = MemoryStore()
    journal = filled(store, 9, 2, 4, 8)
    put(store, volume.journal_path(7), b"")
    damage(store, 8)
    store.delete(volume.journal_path(6), is_dir=False)
    with pytest.raises(DamagedError):
        load(journal)
    image, number = load(journal, until=5)
    assert (sorted(image.nodes), number) == ([2, 3, 4, 5, 6], 5)
    assert load(journal, until=4)[1] == 4
    assert load(journal, until=0)[1] == 0


def test_a_snapshot_alone_is_enough(plain):
    journal = filled(plain, 3, 3)
    for number in (1, 2, 3):
        plain.delete(volume.journal_path(number), is_dir=False)
    assert journal.head() == Head(3, (3,), ())
    assert loaded(journal) == 3
    append(journal, 4)
    assert loaded(journal) == 4


def test_a_snapshot_is_written_once_and_mended_when_damaged(plain):
    journal = filled(plain, 2, 2)
    before = plain.get_metadata(volume.snapshot_path(2)).version
    snapshot(journal, 2)
    assert plain.get_metadata(volume.snapshot_path(2)).version == before
    damage(plain, 2)
    plain.delete(volume.journal_path(1), is_dir=False)
    snapshot(journal, 2)
    assert loaded(journal) == 2


def test_pruning_leaves_two_snapshots_and_what_follows_the_older(plain):
    journal = filled(plain, 8, 2, 4, 6)
    assert journal.prune(6) == 5
    assert journal.head() == Head(8, (4, 6), (5, 6, 7, 8))
    assert journal.prune(6) == 0
    damage(plain, 6)
    assert loaded(journal) == 8


def test_pruning_with_one_snapshot_deletes_nothing():
    journal = filled(MemoryStore(), 4, 2)
    assert journal.prune(2) == 0
    assert journal.head() == Head(4, (2,), (1, 2, 3, 4))
    with pytest.raises(ValueError):
        journal.prune(3)


def test_an_interrupted_pruning_harms_nothing_and_is_taken_up():
    for failing in range(1, 6):
        store = FaultyStore(MemoryStore(), no_faults)
        journal = filled(store, 8, 2, 4, 6)
        deletes = iter(range(1, 100))
        store.plan = lambda call, deletes=deletes, failing=failing: (
            Fault(before=TemporaryError("Planned")) if call.verb == "delete" and next(deletes) == failing else None)
        with pytest.raises(TemporaryError):
            journal.prune(6)
        assert loaded(journal) == 8
        store.plan = no_faults
        journal.prune(6)
        assert journal.head() == Head(8, (4, 6), (5, 6, 7, 8))


def test_loading_costs_two_listings_and_one_read_for_each_object():
    store = StatisticsStore(MemoryStore())
    journal = filled(store, AHEAD * 3, 10)
    before = store.snapshot().requests
    assert loaded(journal) == AHEAD * 3
    after = store.snapshot().requests
    assert after["read"] - before.get("read", 0) == AHEAD * 3 - 10 + 1
    assert after["list_pages"] - before.get("list_pages", 0) == 2
    assert after["store_fileobject"] == before["store_fileobject"]


def test_an_append_costs_one_request():
    store = StatisticsStore(MemoryStore())
    filled(store, 10)
    assert store.snapshot().requests == {"store_fileobject": 10}


def test_entries_are_fetched_several_at_a_time():
    store = FaultyStore(MemoryStore(), no_faults)
    journal = filled(store, 8)
    barrier = threading.Barrier(8, timeout=30)

    def together(call):
        if call.verb == "read":
            barrier.wait()

    store.plan = together
    assert loaded(journal) == 8
