"""Freshness: when the store is asked, what its answer does, and what it must not do."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from davfusion.cache.index import Kind
from davfusion.cache.listing import Freshness
from davfusion.cache.node import PropertyChange
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.errors import NotFoundError, PermanentError, TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.interface import Capabilities, Metadata, Store
from davfusion.store.memory import MemoryStore
from davfusion.store.statistics import StatisticsStore
from tests.cache.conftest import MakeShare
from tests.cache.world import (
    Clock,
    GatedStore,
    make_synced,
    names,
    read,
    remove_synced,
    save,
    store_bytes,
    upload,
    upload_in_steps,
)

DOWN = TemporaryError("The store is down")


def requests(store: StatisticsStore) -> dict[str, int]:
    return store.snapshot().requests


class Outage:
    """A plan by which the store answers, or fails every request."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self, call: Call) -> Fault | None:
        return None if self.error is None else Fault(before=self.error)  # type: ignore[arg-type]


# -- counts -------------------------------------------------------------------------------------


def test_a_cold_folder_costs_its_pages_and_nothing_per_file(
        share: Share, inside: MemoryStore, store: StatisticsStore) -> None:
    for number in range(2500):
        store_bytes(inside, f"/folder/{number}", b"x")
    assert len(names(share, "/folder")) == 2500
    assert requests(store) == {"list_pages": 2}
    assert store.snapshot().pages == 1 + 3


def test_a_fresh_folder_costs_nothing_even_for_names_that_do_not_exist(
        share: Share, inside: MemoryStore, store: StatisticsStore) -> None:
    store_bytes(inside, "/a/b", b"x")
    assert share.find("/a/b") is not None
    before = requests(store)
    assert share.find("/a/b") is not None
    assert share.find("/a/none") is None
    assert share.find("/none/at/all") is None
    assert share.find("/a/b/below-a-file") is None
    assert names(share, "/a") == ["b"]
    assert requests(store) == before


def test_a_folder_is_listed_again_when_it_has_become_old(
        share: Share, inside: MemoryStore, store: StatisticsStore, clock: Clock) -> None:
    assert names(share) == []
    store_bytes(inside, "/new", b"x")
    clock.advance(share.settings.freshness.revalidate_after - 1)
    assert names(share) == []
    clock.advance(1)
    assert names(share) == ["new"]
    assert requests(store) == {"list_pages": 2}


def test_looking_something_up_lists_the_old_folder_again(share: Share, inside: MemoryStore, clock: Clock) -> None:
    assert share.find("/new") is None
    store_bytes(inside, "/new", b"x")
    clock.advance(61)
    assert share.find("/new") is not None


def test_nothing_is_believed_longer_than_one_request_when_told_so(
        make_share: MakeShare, inside: MemoryStore, store: StatisticsStore) -> None:
    share = make_share(store, CacheSettings(freshness=Freshness(revalidate_after=0)))
    store_bytes(inside, "/a/b/c", b"x")
    assert share.find("/a/b/c") is not None
    store_bytes(inside, "/a/b/d", b"x")
    before = requests(store)["list_pages"]
    assert share.find("/a/b/d") is not None
    assert requests(store)["list_pages"] == before + 1
    assert share.find("/a/b/e") is None
    assert names(share, "/a/b") == ["c", "d"]


def test_a_clock_that_was_set_back_does_not_stop_listings(
        share: Share, inside: MemoryStore, clock: Clock) -> None:
    assert names(share) == []
    clock.advance(-3600)
    store_bytes(inside, "/new", b"x")
    assert names(share) == ["new"]
    store_bytes(inside, "/newer", b"x")
    assert names(share) == ["new"]
    clock.advance(61)
    assert names(share) == ["new", "newer"]


def test_many_ask_for_one_cold_folder_and_it_is_listed_once(
        make_share: MakeShare, inside: MemoryStore) -> None:
    store_bytes(inside, "/a", b"x")
    counted = StatisticsStore(GatedStore(inside, "list_pages"))
    gated = counted._store
    assert isinstance(gated, GatedStore)
    share = make_share(counted)
    with ThreadPoolExecutor(8) as pool:
        with gated.held():
            found: list[Future[list[str]]] = [pool.submit(names, share) for _ in range(8)]
            assert gated.arrived.wait(10)
        assert [future.result(10) for future in found] == [["a"]] * 8
    assert requests(counted)["list_pages"] <= 2


def test_listings_that_end_at_once_do_not_block_each_other(
        make_share: MakeShare, store: StatisticsStore) -> None:
    """A listing may be over before the one who began it goes on."""
    share = make_share(store, CacheSettings(freshness=Freshness(revalidate_after=0)))

    def many() -> None:
        for _ in range(300):
            assert names(share) == []

    threads = [threading.Thread(target=many, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


# -- a store that is down -----------------------------------------------------------------------


def test_a_store_that_is_down_does_not_empty_what_was_listed(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    outage = Outage()
    counted = StatisticsStore(FaultyStore(inside, outage))
    share = make_share(counted)
    store_bytes(inside, "/a", b"x")
    assert names(share) == ["a"]
    outage.error = DOWN
    clock.advance(100)
    before = requests(counted)["list_pages"]
    for _ in range(5):
        assert names(share) == ["a"]
        assert share.find("/a") is not None
    assert requests(counted)["list_pages"] == before + 1, "a failing store is left alone for a while"
    outage.error = None
    store_bytes(inside, "/b", b"x")
    clock.advance(6)
    assert names(share) == ["a", "b"]


@pytest.mark.parametrize("error", [DOWN, PermanentError("The bucket is gone")])
def test_what_was_never_listed_is_not_called_missing_when_the_store_is_down(
        make_share: MakeShare, inside: MemoryStore, error: Exception) -> None:
    outage = Outage()
    share = make_share(FaultyStore(inside, outage))
    store_bytes(inside, "/a/b", b"x")
    outage.error = error
    for path in ("/a", "/a/b", "/none"):
        with pytest.raises(type(error)):
            share.find(path)
    outage.error = None
    assert share.find("/a") is not None
    outage.error = error
    for path in ("/a/b", "/a/none"):
        with pytest.raises(type(error)):
            share.find(path)
    with pytest.raises(type(error)):
        names(share, "/a")


def test_a_listing_that_fails_on_its_second_page_changes_nothing(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    faults: list[Fault] = []
    share = make_share(FaultyStore(inside, lambda call: faults[0] if faults else None))
    for number in range(10):
        store_bytes(inside, f"/{number}", b"x")
    assert len(names(share)) == 10
    inside.delete("/5", is_dir=False)
    faults.append(Fault(after=DOWN))
    clock.advance(61)
    assert len(names(share)) == 10
    faults.clear()
    clock.advance(61)
    assert len(names(share)) == 9


def test_a_slow_store_is_not_waited_for_when_something_older_is_known(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    gated = GatedStore(inside, "list_pages")
    share = make_share(gated, CacheSettings(freshness=Freshness(stale_deadline=0.05, cold_deadline=0.2)))
    store_bytes(inside, "/a/b", b"x")
    assert names(share) == ["a"]
    with gated.held():
        clock.advance(100)
        assert names(share) == ["a"]
        with pytest.raises(TemporaryError):
            names(share, "/a")


def test_a_folder_that_the_store_lost_is_found_to_be_gone(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/a/b", b"x")
    assert share.find("/a/b") is not None
    inside.delete("/a", is_dir=True)
    clock.advance(61)
    assert share.find("/a/b") is None
    assert share.find("/a") is None


# -- listings against our own writes ------------------------------------------------------------


@pytest.fixture
def gated(inside: MemoryStore) -> GatedStore:
    return GatedStore(inside, "list_pages")


@pytest.fixture
def slow(make_share: MakeShare, gated: GatedStore) -> Share:
    return make_share(gated)


def listing_under_way(slow: Share, gated: GatedStore) -> threading.Thread:
    """Begin a listing of the root that has its answer and does not deliver it yet."""
    listing = threading.Thread(target=slow.lister.refresh, args=(1,))
    listing.start()
    assert gated.arrived.wait(10)
    return listing


def test_an_upload_that_ended_during_a_listing_is_not_overridden(slow: Share, gated: GatedStore) -> None:
    names(slow)
    save(slow, "/new", b"mine")
    save(slow, "/old", b"first")
    upload(slow, "/old", confirmed=True)
    save(slow, "/old", b"second")
    with gated.held():
        listing = listing_under_way(slow, gated)
        upload(slow, "/new", confirmed=True)
        upload(slow, "/old", confirmed=True)
    listing.join(10)
    assert names(slow) == ["new", "old"]
    assert read(slow, "/new") == b"mine"
    assert read(slow, "/old") == b"second"
    assert slow.index.view().nodes.count_dirty() == (0, 0)


def test_an_upload_that_is_under_way_during_a_listing_is_not_overridden(slow: Share, gated: GatedStore) -> None:
    names(slow)
    save(slow, "/new", b"mine")
    begin, end = upload_in_steps(slow, "/new")
    begin()
    slow.lister.refresh(1)
    assert names(slow) == ["new"]
    end()
    assert names(slow) == ["new"]
    assert slow.index.view().nodes.count_dirty() == (0, 0)
    slow.lister.refresh(1)
    assert names(slow) == ["new"]


def test_an_object_removed_during_a_listing_does_not_come_back(slow: Share, gated: GatedStore) -> None:
    names(slow)
    save(slow, "/a", b"x")
    upload(slow, "/a", confirmed=True)
    with gated.held():
        listing = listing_under_way(slow, gated)
        slow.delete("/a")
        remove_synced(slow, "/a")
    listing.join(10)
    assert names(slow) == []
    slow.lister.refresh(1)
    assert names(slow) == []


def test_a_save_during_a_listing_wins(slow: Share, gated: GatedStore) -> None:
    names(slow)
    save(slow, "/a", b"first")
    upload(slow, "/a", confirmed=True)
    with gated.held():
        listing = listing_under_way(slow, gated)
        save(slow, "/a", b"second")
        save(slow, "/b", b"new")
    listing.join(10)
    assert names(slow) == ["a", "b"]
    assert read(slow, "/a") == b"second"


def test_a_listing_that_was_overtaken_by_a_newer_one_changes_nothing(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    """Two processes list the same folder; the one that looked first delivers last."""
    gated = GatedStore(inside, "list_pages")
    late, early = make_share(gated), make_share(inside)
    store_bytes(inside, "/changed", b"1")
    names(early)
    properties = [PropertyChange("{x}y", b"<y xmlns='x'/>")]
    with gated.held():
        listing = listing_under_way(late, gated)
        clock.advance(1)
        store_bytes(inside, "/new", b"x")
        store_bytes(inside, "/changed", b"22")
        early.lister.refresh(1)
        early.change_properties("/new", properties)
    listing.join(10)
    assert names(early) == ["changed", "new"]
    assert read(early, "/changed") == b"22"
    new = early.find("/new")
    assert new is not None and early.properties(new), "it did not go and come back"


def test_a_wish_for_a_new_listing_is_not_lost_in_one_under_way(
        slow: Share, gated: GatedStore, inside: MemoryStore) -> None:
    names(slow)
    with gated.held():
        listing = listing_under_way(slow, gated)
        store_bytes(inside, "/new", b"x")
        slow.index.write(lambda view: view.nodes.relist(1))
    listing.join(10)
    assert names(slow) == ["new"]


def test_a_folder_that_is_being_moved_in_the_store_is_not_found_to_be_empty(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    class Flat(GatedStore):
        """A store where a folder that is not there is an empty one."""

        def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
            with contextlib.suppress(NotFoundError):
                yield from super().list_pages(directory, recursive=recursive)

    share = make_share(Flat(inside, "nothing"))
    store_bytes(inside, "/a/b/f", b"x")
    assert names(share, "/a/b") == ["f"]
    above, folder = share.find("/a"), share.find("/a/b")
    assert above is not None and folder is not None
    operation = share.index.write(lambda view: view.operations.begin(Kind.TREE_FROM, "/a", above.id))
    inside.move("/a", "/z")
    with pytest.raises(TemporaryError):
        share.lister.refresh(folder.id)
    assert share.find_known("/a/b/f") is not None
    inside.move("/z", "/a")
    share.index.write(lambda view: view.operations.finish(operation, view.now()))
    share.lister.refresh(folder.id)
    assert read(share, "/a/b/f") == b"x"


# -- changes by somebody else -------------------------------------------------------------------


def relist(share: Share, clock: Clock) -> None:
    clock.advance(61)


def test_changes_in_the_store_appear(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/changed", b"1")
    store_bytes(inside, "/gone", b"1")
    before = share.find("/changed")
    assert before is not None and read(share, "/changed") == b"1"
    store_bytes(inside, "/changed", b"22")
    inside.delete("/gone", is_dir=False)
    store_bytes(inside, "/added", b"3")
    relist(share, clock)
    assert names(share) == ["added", "changed"]
    after = share.find("/changed")
    assert after is not None and after.etag != before.etag and after.size == 2
    assert read(share, "/changed") == b"22"
    assert share.index.view().nodes.count_dirty() == (0, 0)


def conflict_name(share: Share, folder: str = "/") -> str:
    found = [name for name in names(share, folder) if "(conflict of " in name]
    assert len(found) == 1, found
    return found[0]


def test_changed_on_both_sides_keeps_both(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/report.final.txt", b"first")
    assert read(share, "/report.final.txt") == b"first"
    save(share, "/report.final.txt", b"ours")
    share.change_properties("/report.final.txt", [PropertyChange("{x}p", b"<p xmlns='x'>1</p>")])
    store_bytes(inside, "/report.final.txt", b"theirs")
    relist(share, clock)
    assert read(share, "/report.final.txt") == b"theirs"
    ours = conflict_name(share)
    assert ours.startswith("report.final (conflict of ") and ours.endswith(").txt")
    assert read(share, f"/{ours}") == b"ours"
    for name in ("report.final.txt", ours):
        node = share.find(f"/{name}")
        assert node is not None and share.properties(node) == {"{x}p": b"<p xmlns='x'>1</p>"}
        assert node.dirty == (name == ours)


def test_the_second_conflict_of_a_day_gets_another_name(share: Share, inside: MemoryStore, clock: Clock) -> None:
    for number in range(3):
        store_bytes(inside, "/.config", f"theirs {number}".encode())
        relist(share, clock)
        names(share)
        save(share, "/.config", f"ours {number}".encode())
    store_bytes(inside, "/.config", b"theirs at last")
    relist(share, clock)
    kept = [name for name in names(share) if name != ".config"]
    assert len(kept) == 3
    assert all(name.startswith(".config (conflict of ") for name in kept)
    assert {read(share, f"/{name}") for name in kept} == {b"ours 0", b"ours 1", b"ours 2"}
    assert read(share, "/.config") == b"theirs at last"


def test_new_under_the_same_name_on_both_sides_keeps_both(share: Share, inside: MemoryStore, clock: Clock) -> None:
    names(share)
    save(share, "/a.txt", b"ours")
    store_bytes(inside, "/a.txt", b"theirs")
    relist(share, clock)
    assert read(share, "/a.txt") == b"theirs"
    assert read(share, f"/{conflict_name(share)}") == b"ours"


def test_a_folder_made_on_both_sides_is_one(share: Share, inside: MemoryStore, clock: Clock) -> None:
    names(share)
    share.make_folder("/both")
    save(share, "/both/ours", b"1")
    store_bytes(inside, "/both/theirs", b"2")
    relist(share, clock)
    assert names(share) == ["both"]
    assert names(share, "/both") == ["ours", "theirs"]


def test_gone_there_but_changed_here_stays_and_is_written_again(
        share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/a", b"first")
    assert read(share, "/a") == b"first"
    save(share, "/a", b"ours")
    inside.delete("/a", is_dir=False)
    relist(share, clock)
    assert names(share) == ["a"]
    assert read(share, "/a") == b"ours"
    node = share.find("/a")
    assert node is not None and node.dirty


def test_deleted_here_but_changed_there_comes_back(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/a", b"first")
    names(share)
    share.delete("/a")
    assert names(share) == []
    store_bytes(inside, "/a", b"changed")
    relist(share, clock)
    assert read(share, "/a") == b"changed"


def test_deleted_here_and_unchanged_there_stays_deleted(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/a", b"first")
    store_bytes(inside, "/folder/b", b"first")
    names(share, "/folder")
    share.delete("/a")
    share.delete("/folder")
    for _ in range(3):
        relist(share, clock)
        assert names(share) == []
    assert share.index.view().nodes.count_dirty() == (2, 0)


def test_a_folder_gone_from_the_store_takes_what_was_unchanged_and_leaves_what_was_not(
        share: Share, inside: MemoryStore, clock: Clock) -> None:
    for name in ("changed", "clean", "moved-away", "renamed", "sub/clean", "sub/changed", "emptied/clean"):
        store_bytes(inside, f"/folder/{name}", name.encode())
    for node in list(share.walk(share.find("/"))):  # type: ignore[arg-type]
        if not node.is_folder:
            read(share, node.path)
    save(share, "/folder/changed", b"ours 1")
    save(share, "/folder/sub/changed", b"ours 2")
    save(share, "/folder/new", b"ours 3")
    share.move("/folder/moved-away", "/moved-away", overwrite=False)
    share.move("/folder/renamed", "/folder/renamed here", overwrite=False)
    inside.delete("/folder", is_dir=True)
    relist(share, clock)
    assert names(share) == ["folder", "moved-away"]
    assert names(share, "/folder") == ["changed", "new", "renamed here", "sub"]
    assert names(share, "/folder/sub") == ["changed"]
    assert read(share, "/folder/changed") == b"ours 1"
    assert read(share, "/folder/sub/changed") == b"ours 2"
    assert read(share, "/folder/new") == b"ours 3"
    assert read(share, "/moved-away") == b"moved-away"
    assert read(share, "/folder/renamed here") == b"renamed"
    view = share.index.view()
    for path in ("/folder", "/folder/sub", "/folder/changed", "/folder/new", "/moved-away"):
        record = view.nodes.resolve(path)
        assert record is not None and record.dirty and not record.is_synced, path


def test_a_folder_gone_on_both_sides_leaves_nothing_behind(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/folder/sub/a", b"x")
    names(share, "/folder/sub")
    share.delete("/folder")
    inside.delete("/folder", is_dir=True)
    relist(share, clock)
    assert names(share) == []
    rows = share.index.view().nodes.dirty(100)
    assert all(not row.is_synced for row in rows)


def test_a_file_becomes_a_folder_and_back(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/x", b"file")
    assert read(share, "/x") == b"file"
    inside.delete("/x", is_dir=False)
    store_bytes(inside, "/x/below", b"in folder")
    relist(share, clock)
    assert names(share) == ["x"]
    assert read(share, "/x/below") == b"in folder"
    inside.delete("/x", is_dir=True)
    store_bytes(inside, "/x", b"file again")
    relist(share, clock)
    assert read(share, "/x") == b"file again"
    assert share.index.view().nodes.count_dirty() == (0, 0)


def test_a_changed_file_that_becomes_a_folder_is_kept_beside(
        share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/x", b"file")
    names(share)
    save(share, "/x", b"ours")
    inside.delete("/x", is_dir=False)
    store_bytes(inside, "/x/below", b"in folder")
    relist(share, clock)
    assert read(share, "/x/below") == b"in folder"
    assert read(share, f"/{conflict_name(share)}") == b"ours"


def test_a_folder_with_new_files_that_becomes_a_file_is_kept_beside(
        share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/x/old", b"1")
    names(share, "/x")
    save(share, "/x/new", b"ours")
    inside.delete("/x", is_dir=True)
    store_bytes(inside, "/x", b"a file")
    relist(share, clock)
    assert read(share, "/x") == b"a file"
    kept = conflict_name(share)
    assert names(share, f"/{kept}") == ["new"]
    assert read(share, f"/{kept}/new") == b"ours"


def test_a_renamed_folder_still_shows_what_the_store_adds_to_it(
        share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/old/a", b"1")
    names(share, "/old")
    share.move("/old", "/new", overwrite=False)
    store_bytes(inside, "/old/b", b"2")
    relist(share, clock)
    assert names(share) == ["new"]
    assert names(share, "/new") == ["a", "b"]
    assert read(share, "/new/b") == b"2"


def test_a_file_moved_between_folders_is_one_file(share: Share, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/from/a", b"1")
    store_bytes(inside, "/to/b", b"2")
    names(share, "/from")
    names(share, "/to")
    share.move("/from/a", "/to/a", overwrite=False)
    relist(share, clock)
    assert names(share, "/from") == []
    assert names(share, "/to") == ["a", "b"]
    assert read(share, "/to/a") == b"1"


def test_a_lost_write_is_written_again(share: Share, inside: MemoryStore, clock: Clock) -> None:
    names(share)
    save(share, "/a", b"first")
    upload(share, "/a")
    inside.delete("/a", is_dir=False)
    relist(share, clock)
    assert read(share, "/a") == b"first"
    node = share.find("/a")
    assert node is not None and node.dirty


# -- stores whose listings may be stale ---------------------------------------------------------


class Eventual(FaultyStore):
    """A store that says that its listings may be stale, and tells them as planned."""

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, strong_consistency=False)


def test_a_stale_listing_is_asked_about_before_it_is_believed(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    stale = {"list_pages": 0}
    eventual: Store = Eventual(inside, lambda call: Fault(stale=stale.get(call.verb, 0)), remember=True)
    counted = StatisticsStore(eventual)
    share = make_share(counted)
    for name in ("kept", "replaced"):
        store_bytes(eventual, f"/{name}", b"1")
    assert names(share) == ["kept", "replaced"]
    asked = requests(counted).get("get_metadata", 0)
    relist(share, clock)
    assert names(share) == ["kept", "replaced"]
    assert requests(counted).get("get_metadata", 0) == asked, "nothing would change, nothing is asked"
    store_bytes(eventual, "/replaced", b"22")
    store_bytes(eventual, "/last", b"3")
    relist(share, clock)
    assert names(share) == ["kept", "last", "replaced"]
    stale["list_pages"] = 2
    for _ in range(2):
        relist(share, clock)
        assert names(share) == ["kept", "last", "replaced"]
        assert read(share, "/replaced") == b"22"


def test_what_was_written_here_and_is_not_listed_yet_stays(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    stale = {"list_pages": 0}
    eventual = Eventual(inside, lambda call: Fault(stale=stale.get(call.verb, 0)), remember=True)
    share = make_share(eventual)
    names(share)
    save(share, "/a", b"mine")
    upload(share, "/a")
    stale["list_pages"] = 1
    relist(share, clock)
    assert names(share) == ["a"]
    make_synced_folder = share.make_folder("/folder")
    make_synced(share, make_synced_folder.path)
    relist(share, clock)
    assert names(share) == ["a", "folder"]
    assert share.index.view().nodes.count_dirty() == (0, 0)


def test_a_large_folder_in_which_little_changed_writes_little(
        share: Share, inside: MemoryStore, clock: Clock) -> None:
    for number in range(3000):
        store_bytes(inside, f"/{number:04}", b"x")
    assert len(names(share)) == 3000
    transactions = 0
    write = share.index.write

    def counting(change):  # type: ignore[no-untyped-def]
        nonlocal transactions
        transactions += 1
        return write(change)

    share.index.write = counting  # type: ignore[method-assign]
    relist(share, clock)
    assert len(names(share)) == 3000
    assert transactions == 1, "only that it was listed"
    store_bytes(inside, "/0007", b"changed")
    inside.delete("/0008", is_dir=False)
    inside.create_directory("/new")
    relist(share, clock)
    assert len(names(share)) == 3000
    assert transactions == 3
    assert read(share, "/0007") == b"changed"
    assert share.find("/0008") is None
