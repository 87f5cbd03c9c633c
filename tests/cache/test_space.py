"""The limit of the cache: what goes, what never goes, and who is told when there is no room."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from davfusion.cache.allowance import Allowance
from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Kind
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import LONGEST_WAIT, SpaceLimits
from davfusion.store.memory import MemoryStore
from tests.cache.conftest import MakeShare
from tests.cache.world import Clock, names, read, save, store_bytes, upload

MB = 1_000_000
LIMIT = 20 * MB


@pytest.fixture
def small(make_share: MakeShare, inside: MemoryStore) -> Share:
    share = make_share(inside, CacheSettings(limits=SpaceLimits(cache_size=LIMIT)))
    names(share)
    return share


def on_disk(state: Path) -> int:
    return sum(path.stat().st_size for path in state.rglob("*") if path.is_file())


def held(share: Share) -> set[str]:
    """Names of the files of the root whose bytes are here."""
    view = share.index.view()
    return {record.local_name or "" for record in view.nodes.children(1) if record.whole}


def test_the_limit_counts_every_byte_of_the_state(small: Share, tmp_path: Path) -> None:
    save(small, "/a", b"x" * MB)
    with small.receive(2 * MB) as incoming:
        incoming.write(b"y" * MB)
        state = tmp_path / "state"
        log = (state / "index.db-wal").stat().st_size
        used, disk = small.space.used(), on_disk(state)
        assert used >= 3 * MB
        assert disk - used <= 64 * 1024, "only the memory map of the index does not count"
        assert used - disk <= log, "what the log holds is counted where it goes, too"


def test_clean_files_go_least_recently_used_first_down_to_the_watermark(
        small: Share, inside: MemoryStore, clock: Clock) -> None:
    for number in range(18):
        store_bytes(inside, f"/{number:02}", bytes([number]) * MB)
    small.lister.refresh(1)
    for number in range(18):
        clock.advance(100)
        read(small, f"/{number:02}")
    clock.advance(100)
    read(small, "/00")
    small.accesses.flush()
    assert len(held(small)) == 18
    save(small, "/new", b"n" * 3 * MB)
    kept = held(small)
    assert "/00"[1:] in kept and "17" in kept and "new" in kept
    assert "01" not in kept and "02" not in kept
    assert small.space.used() <= LIMIT
    gone = {f"{number:02}" for number in range(18)} - kept
    assert gone == {f"{number:02}" for number in range(1, len(gone) + 1)}
    for number in range(18):
        assert read(small, f"/{number:02}") == bytes([number]) * MB


def test_what_the_store_does_not_surely_hold_is_never_evicted(small: Share, inside: MemoryStore) -> None:
    save(small, "/dirty", b"d" * MB)
    save(small, "/changed-since", b"1" * MB)
    upload(small, "/changed-since", confirmed=True)
    save(small, "/changed-since", b"2" * MB)
    store_bytes(inside, "/copied", b"c" * MB)
    small.lister.refresh(1)
    read(small, "/copied")
    small.copy("/copied", "/copy", overwrite=False)
    save(small, "/unconfirmed", b"u" * MB)
    upload(small, "/unconfirmed")
    save(small, "/in-transfer", b"t" * MB)
    upload(small, "/in-transfer", confirmed=True)
    content = small.index.view().nodes.resolve("/in-transfer").content  # type: ignore[union-attr]
    operation = small.index.write(lambda view: view.operations.begin(Kind.WRITE, "/elsewhere", 1, content))
    save(small, "/clean", b"k" * MB)
    upload(small, "/clean", confirmed=True)
    small.space.evict(2**60)
    assert held(small) == {"dirty", "unconfirmed", "changed-since", "copied", "copy", "in-transfer"}
    small.index.write(lambda view: view.operations.finish(operation, view.now()))
    small.lister.refresh(1)
    small.space.evict(2**60)
    assert held(small) == {"dirty", "changed-since", "copied", "copy"}
    for name, data in (("dirty", b"d"), ("unconfirmed", b"u"), ("changed-since", b"2"), ("copy", b"c"),
                       ("in-transfer", b"t"), ("clean", b"k")):
        assert read(small, f"/{name}") == data * MB, name


def test_a_cache_full_of_new_data_refuses_before_the_body(small: Share) -> None:
    number = 0
    with pytest.raises(CacheFullError):
        for number in range(40):
            with small.receive(MB) as incoming:
                incoming.write(b"x" * MB)
                small.put(f"/{number}", incoming)
    assert 15 <= number <= 20
    assert small.space.used() <= LIMIT
    assert small.files.received_bytes() == 0
    for done in range(number):
        assert read(small, f"/{done}") == b"x" * MB
    for done in range(number):
        upload(small, f"/{done}", confirmed=True)
    save(small, "/again", b"y" * MB)
    assert small.space.used() <= LIMIT * 0.91 + MB


def test_a_body_of_unknown_length_may_fill_what_is_free_and_no_more(small: Share) -> None:
    with small.receive(None) as incoming:
        for _ in range(17):
            incoming.write(b"x" * MB)
        small.put("/f", incoming)
    assert read(small, "/f") == b"x" * 17 * MB
    with pytest.raises(CacheFullError), small.receive(None) as incoming:
        for _ in range(5):
            incoming.write(b"x" * MB)
    assert small.space.used() <= LIMIT
    assert names(small) == ["f"]


def test_a_body_longer_than_announced_is_admitted_piece_by_piece(small: Share) -> None:
    with pytest.raises(CacheFullError), small.receive(10) as incoming:
        for _ in range(30):
            incoming.write(b"x" * MB)
    assert small.space.used() < MB


def test_writers_are_slowed_for_a_bounded_time_when_little_is_left(small: Share) -> None:
    save(small, "/a", b"x" * 19 * MB)
    with small.receive(100_000) as incoming:
        began = time.monotonic()
        incoming.write(b"y" * 100_000)
        took = time.monotonic() - began
        small.put("/b", incoming)
    assert 0.05 < took < LONGEST_WAIT + 1
    assert read(small, "/b") == b"y" * 100_000


def test_small_bodies_are_taken_at_once_only_where_there_is_plenty(small: Share) -> None:
    """Where writers are to be slowed, or room has to be made, they come in as others do."""
    def taken() -> list[bool]:
        small.space._allowance = Allowance(60.0)  # measured once, however slow this machine is
        return [small.takes_small(100) for _ in range(3)]

    assert taken() == [False, True, True]
    assert not small.takes_small(small.files.small + 1)
    save(small, "/a", b"x" * 19 * MB)
    assert taken() == [False, False, False]
    upload(small, "/a", confirmed=True)
    small.space.evict(15 * MB)
    assert taken() == [False, True, True]
    save(small, "/b", b"x" * (LIMIT - small.space.used() - 100))
    with pytest.raises(CacheFullError):
        small.takes_small(20_000)


def test_writers_are_not_slowed_by_what_can_be_evicted(small: Share) -> None:
    save(small, "/a", b"x" * 19 * MB)
    upload(small, "/a", confirmed=True)
    began = time.monotonic()
    save(small, "/b", b"y" * 100_000)
    assert time.monotonic() - began < 0.5


def test_quota_tells_what_is_used_and_what_fits(small: Share, inside: MemoryStore) -> None:
    empty = small.quota()
    assert empty.used == 0 and empty.available is not None and 19 * MB < empty.available <= LIMIT
    save(small, "/dirty", b"x" * MB)
    store_bytes(inside, "/far", b"y" * 5 * MB)
    small.lister.refresh(1)
    quota = small.quota()
    assert quota.used == 6 * MB
    assert quota.available is not None and 18 * MB < quota.available <= LIMIT - MB
    small.index.write(lambda view: view.operations.set_meta("store_free", str(3 * MB)))
    assert small.quota().available == 2 * MB
    small.index.write(lambda view: view.operations.set_meta("store_free", "0"))
    assert small.quota().available == 0
    small.index.write(lambda view: view.operations.set_meta("store_free", ""))
    assert (small.quota().available or 0) > 18 * MB


def test_the_count_of_held_bytes_is_what_the_rows_say(small: Share, inside: MemoryStore) -> None:
    for number in range(10):
        save(small, f"/{number}", b"x" * (number + 1) * 10_000)
    upload(small, "/3", confirmed=True)
    store_bytes(inside, "/far", b"y" * 3 * MB)
    small.lister.refresh(1)
    read(small, "/far")
    small.delete("/5")
    view = small.index.view()
    for content in view.contents.unreferenced(0, 100):
        file = small.index.write(lambda view, content=content: view.contents.remove_unreferenced(content))
        if file is not None:
            small.files.remove(file)
    small.space.evict(1)
    counted = view.operations.cached_bytes()
    assert small.index.write(lambda view: view.contents.recount()) == counted
    assert counted == sum(small.files.path(file).stat().st_size for file in small.files.files())


def test_copies_of_what_is_not_here_take_no_room(small: Share, inside: MemoryStore) -> None:
    store_bytes(inside, "/far", b"y" * 15 * MB)
    small.lister.refresh(1)
    save(small, "/near", b"x" * MB)
    for number in range(5):
        small.copy("/far", f"/copy-{number}", overwrite=False)
        small.copy("/near", f"/near-{number}", overwrite=False)
    available = small.quota().available
    assert available is not None and LIMIT - 2 * MB < available < LIMIT - MB
    save(small, "/new", b"z" * 10 * MB)


def test_writers_are_not_slowed_by_the_log_of_the_index(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, CacheSettings(limits=SpaceLimits(cache_size=LIMIT)))
    save(share, "/dirty", b"x" * 10 * MB)
    for _ in range(10):
        share.index.write(lambda view: view.operations.set_meta("x", os.urandom(500_000).hex()))
    share.index.write(lambda view: view.operations.set_meta("x", ""))
    assert share.space.used() > 0.9 * LIMIT, "most of it is the log"
    share.space._measured = 0.0
    assert share.space._current_pressure(0) < 0.9
    assert share.takes_small(100) or share.takes_small(100)


def test_the_log_of_the_index_makes_room_before_anything_is_evicted(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, CacheSettings(limits=SpaceLimits(cache_size=6 * MB)))
    store_bytes(inside, "/kept", b"k" * MB)
    names(share)
    read(share, "/kept")
    for _ in range(60):
        share.index.write(lambda view: view.operations.set_meta("text", "x" * 60_000))
    assert share.index.log_size() > 3 * MB
    save(share, "/new", b"n" * 3 * MB)
    assert held(share) == {"kept", "new"}
    assert share.space.used() <= 6 * MB
