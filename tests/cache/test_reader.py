"""Reading contents that are not, or only partly, here: right bytes, few requests, true errors."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.blocks import BLOCK
from davfusion.cache.contents import map_path
from davfusion.cache.node import Node
from davfusion.cache.reader import BlockReader
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.store.errors import NotFoundError, TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.store.statistics import StatisticsStore
from tests.cache.conftest import MakeShare
from tests.cache.world import Clock, GatedStore, names, read, save, store_bytes, upload

DATA = random.Random(1).randbytes(40 * BLOCK + 12345)
NO_ROOM = CacheSettings(limits=SpaceLimits(cache_size=1))


def reads(store: StatisticsStore) -> int:
    return store.snapshot().requests.get("read", 0)


def found(share: Share, path: str) -> Node:
    node = share.find(path)
    assert node is not None
    return node


def whole(share: Share, path: str) -> bool:
    row = share.index.view().contents.get(found(share, path).content or 0)
    assert row is not None
    return row.whole


@pytest.mark.parametrize("settings", [CacheSettings(), NO_ROOM], ids=["kept", "no-room"])
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 20 * BLOCK + 7])
def test_every_byte_is_right_wherever_one_reads(
        make_share: MakeShare, inside: MemoryStore, size: int, settings: CacheSettings) -> None:
    share = make_share(inside, settings)
    data = DATA[:size]
    store_bytes(inside, "/f", data)
    generator = random.Random(size)
    with share.open(found(share, "/f")) as reader:
        assert reader.size == size
        for _ in range(40):
            position, length = generator.randrange(size + 10), generator.choice((1, 1000, 70_000, BLOCK + 5))
            assert reader.seek(position) == position
            piece = reader.read(length)
            assert piece == data[position:position + length][:len(piece)]
            assert piece or position >= size
        assert reader.seek(0, os.SEEK_END) == size
        assert reader.read(10) == b""
        reader.seek(0)
        assert b"".join(iter(lambda: reader.read(99_999), b"")) == data


def test_an_empty_file_needs_no_request(share: Share, inside: MemoryStore, store: StatisticsStore) -> None:
    store_bytes(inside, "/f", b"")
    assert read(share, "/f") == b""
    assert reads(store) == 0


def test_a_small_file_is_one_request_and_none_the_second_time(
        share: Share, inside: MemoryStore, store: StatisticsStore) -> None:
    sizes = (1, BLOCK, 5 * BLOCK + 1)
    for number, size in enumerate(sizes):
        store_bytes(inside, f"/{number}", DATA[:size])
    for number, size in enumerate(sizes):
        assert read(share, f"/{number}") == DATA[:size]
        assert reads(store) == number + 1
        assert whole(share, f"/{number}")
    for number in range(3):
        read(share, f"/{number}")
    assert reads(store) == 3


def test_a_seek_into_a_big_file_is_one_range_request(
        share: Share, inside: MemoryStore, store: StatisticsStore) -> None:
    store_bytes(inside, "/film", DATA)
    with share.open(found(share, "/film")) as reader:
        opened = store.snapshot()
        reader.seek(30 * BLOCK + 5)
        assert reader.read(1000) == DATA[30 * BLOCK + 5:30 * BLOCK + 1005]
    after = store.snapshot()
    assert opened.requests["read"] == 1 and opened.bytes_read <= BLOCK
    assert after.requests["read"] == 2 and after.bytes_read <= opened.bytes_read + BLOCK
    assert share.index.view().operations.cached_bytes() == 2 * BLOCK


def test_reading_straight_on_takes_few_requests(
        share: Share, inside: MemoryStore, store: StatisticsStore) -> None:
    store_bytes(inside, "/film", DATA)
    assert read(share, "/film") == DATA
    assert reads(store) <= 9
    assert store.snapshot().bytes_read == len(DATA)
    assert whole(share, "/film")
    assert share.index.view().operations.cached_bytes() == len(DATA)
    assert read(share, "/film") == DATA
    assert reads(store) <= 9


def test_reading_straight_on_fetches_in_parallel(make_share: MakeShare, inside: MemoryStore) -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    class Watched(GatedStore):
        def _pass(self, verb: str) -> None:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            together.wait(0.2)
            with lock:
                under_way -= 1

    together = threading.Event()
    share = make_share(Watched(inside, "read"))
    store_bytes(inside, "/film", DATA)
    assert read(share, "/film") == DATA
    assert most >= 2


def test_without_room_bytes_pass_through_in_one_request_each_way(
        make_share: MakeShare, inside: MemoryStore, store: StatisticsStore) -> None:
    share = make_share(store, NO_ROOM)
    store_bytes(inside, "/film", DATA)
    assert read(share, "/film") == DATA
    assert reads(store) <= 2
    assert share.index.view().operations.cached_bytes() == 0


def test_a_cut_stream_goes_on_where_it_ended(make_share: MakeShare, inside: MemoryStore) -> None:
    cuts = [100, 3 * BLOCK + 5, BLOCK]

    def plan(call: Call) -> Fault | None:
        return Fault(cut=cuts.pop()) if call.verb == "read" and cuts else None

    counted = StatisticsStore(FaultyStore(inside, plan))
    share = make_share(counted)
    store_bytes(inside, "/f", DATA)
    assert read(share, "/f") == DATA
    assert not cuts
    assert counted.snapshot().bytes_read <= len(DATA) + 3 * BLOCK, "what had come is not fetched again"


@pytest.mark.parametrize("settings", [CacheSettings(), NO_ROOM], ids=["kept", "no-room"])
def test_a_store_that_ends_early_without_a_word_is_an_error_and_not_a_short_file(
        make_share: MakeShare, inside: MemoryStore, settings: CacheSettings) -> None:
    class Short(StatisticsStore):
        def read(self, path, start=0, stop=None, *, if_version=None, interrupt=None):  # type: ignore[no-untyped-def]
            yield from super().read(path, start, min(stop, BLOCK // 2), if_version=if_version, interrupt=interrupt)

    counted = Short(inside)
    share = make_share(counted, settings)
    store_bytes(inside, "/f", DATA[:BLOCK])
    with pytest.raises(TemporaryError):
        read(share, "/f")
    assert 2 <= reads(counted) <= 5, "taken up again a few times, not for ever"
    assert not whole(share, "/f")


def test_a_whole_fetch_is_whole_or_an_error_or_told_to_have_no_room(
        make_share: MakeShare, inside: MemoryStore) -> None:
    limit = [BLOCK // 2]

    class Short(StatisticsStore):
        def read(self, path, start=0, stop=None, *, if_version=None, interrupt=None):  # type: ignore[no-untyped-def]
            yield from super().read(path, start, min(stop, limit[0]), if_version=if_version, interrupt=interrupt)

    store_bytes(inside, "/f", DATA[:20 * BLOCK])
    share = make_share(Short(inside))
    content = found(share, "/f").content or 0
    with pytest.raises(TemporaryError):
        share.fetcher.fetch_whole(content)
    assert not whole(share, "/f")
    limit[0] = 2**60
    assert share.fetcher.fetch_whole(content)
    assert whole(share, "/f")
    assert share.fetcher.fetch_whole(content), "nothing is left to do"
    assert not share.fetcher.fetch_whole(10**6), "there is no such content"
    full = make_share(inside, NO_ROOM, state="full")
    assert not full.fetcher.fetch_whole(found(full, "/f").content or 0)


@pytest.mark.parametrize("settings", [CacheSettings(), NO_ROOM], ids=["kept", "no-room"])
def test_a_store_that_stays_down_is_a_temporary_error_and_not_a_short_file(
        make_share: MakeShare, inside: MemoryStore, settings: CacheSettings) -> None:
    down: list[Fault] = []
    share = make_share(FaultyStore(inside, lambda call: down[0] if down and call.verb == "read" else None), settings)
    store_bytes(inside, "/f", DATA)
    node = found(share, "/f")
    with share.open(node) as reader:
        reader.read(10)
        down.append(Fault(cut=0))
        reader.seek(25 * BLOCK)
        with pytest.raises(TemporaryError):
            reader.read(10)
        down.clear()
        assert reader.read(10) == DATA[25 * BLOCK:25 * BLOCK + 10], "the same reader may try again"
    down.append(Fault(before=TemporaryError("down")))
    store_bytes(inside, "/g", DATA)
    share.lister.refresh(1)
    with pytest.raises(TemporaryError):
        share.open(found(share, "/g")).read(1)


def test_changed_in_the_store_meanwhile(share: Share, inside: MemoryStore) -> None:
    store_bytes(inside, "/f", DATA)
    node = found(share, "/f")
    with share.open(node) as reader:
        reader.read(10)
        store_bytes(inside, "/f", b"another")
        reader.seek(20 * BLOCK)
        with pytest.raises(TemporaryError):
            reader.read(10)
    assert read(share, "/f") == b"another", "its folder was listed anew"
    assert found(share, "/f").etag != node.etag


def test_gone_from_the_store_meanwhile(share: Share, inside: MemoryStore) -> None:
    store_bytes(inside, "/f", DATA)
    node = found(share, "/f")
    inside.delete("/f", is_dir=False)
    with pytest.raises(TemporaryError):
        share.open(node).read(1)
    assert share.find("/f") is None


def test_a_reader_that_is_closed_does_not_wait_for_what_it_asked_for(
        make_share: MakeShare, inside: MemoryStore) -> None:
    class Endless(StatisticsStore):
        def read(self, path, start=0, stop=None, *, if_version=None, interrupt=None):  # type: ignore[no-untyped-def]
            yield from super().read(path, start, min(stop, start + 1000), if_version=if_version)
            if start >= 8 * BLOCK:
                waiting.set()
                interrupted.append(interrupt is not None and interrupt.wait(30))
            yield from super().read(path, start + 1000, stop, if_version=if_version, interrupt=interrupt)

    waiting = threading.Event()
    interrupted: list[bool] = []
    share = make_share(Endless(inside))
    store_bytes(inside, "/f", DATA)
    reader = share.open(found(share, "/f"))
    for _ in range(4):
        assert reader.read(BLOCK)
    assert waiting.wait(30), "what lies ahead is asked for"
    reader.close()
    assert interrupted and all(interrupted)


def test_two_readers_in_one_process_fetch_a_block_once(
        make_share: MakeShare, inside: MemoryStore) -> None:
    gated = GatedStore(inside, "read")
    counted = StatisticsStore(gated)
    share = make_share(counted)
    store_bytes(inside, "/f", DATA[:5 * BLOCK])
    node = found(share, "/f")

    def all_of_it() -> bytes:
        with share.open(node) as reader:
            return b"".join(iter(lambda: reader.read(BLOCK), b""))

    with ThreadPoolExecutor(4) as pool:
        with gated.held():
            futures = [pool.submit(all_of_it) for _ in range(4)]
            assert gated.arrived.wait(10)
        assert [future.result(20) for future in futures] == [DATA[:5 * BLOCK]] * 4
    assert reads(counted) == 1
    assert share.index.view().operations.cached_bytes() == 5 * BLOCK


_OTHER = """
import sys
from pathlib import Path
from davfusion.cache.share import Share
from davfusion.store.local import LocalStore
from davfusion.store.statistics import StatisticsStore

state, folder = Path(sys.argv[1]), Path(sys.argv[2])
store = StatisticsStore(LocalStore(folder))
share = Share(state, store)
node = share.find("/f")
print("ready", flush=True)
sys.stdin.readline()
with share.open(node) as reader:
    data = b"".join(iter(lambda: reader.read(500_000), b""))
assert data == (folder / "f").read_bytes()
share.close()
print(store.snapshot().bytes_read, flush=True)
"""


def test_two_processes_fetch_every_block_once(tmp_path: Path) -> None:
    folder, state = tmp_path / "store", tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    (folder / "f").write_bytes(DATA)
    processes = [subprocess.Popen([sys.executable, "-c", _OTHER, str(state), str(folder)], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        fetched = [int(process.communicate(timeout=60)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sum(fetched) == len(DATA)


# -- evicted while in use -----------------------------------------------------------------------


def evict_all(share: Share) -> None:
    share.space.evict(2**60)


def test_an_evicted_file_is_fetched_again_under_the_same_entity_tag(
        share: Share, inside: MemoryStore, store: StatisticsStore) -> None:
    store_bytes(inside, "/f", DATA[:3 * BLOCK])
    before = found(share, "/f").etag
    assert read(share, "/f") == DATA[:3 * BLOCK]
    evict_all(share)
    assert share.index.view().operations.cached_bytes() == 0
    assert list(share.files.files()) == []
    assert read(share, "/f") == DATA[:3 * BLOCK]
    assert reads(store) == 2
    assert found(share, "/f").etag == before


@pytest.mark.parametrize("part", [False, True])
def test_a_reader_goes_on_although_its_file_is_evicted(share: Share, inside: MemoryStore, part: bool) -> None:
    store_bytes(inside, "/f", DATA)
    if not part:
        read(share, "/f")
    with share.open(found(share, "/f")) as reader:
        data = reader.read(500_000)
        evict_all(share)
        data += b"".join(iter(lambda: reader.read(500_000), b""))
    assert data == DATA


def test_bytes_that_come_for_an_evicted_file_are_not_taken_for_its_successors(
        share: Share, inside: MemoryStore) -> None:
    """Two fills of one content under way in two files: the end of one says nothing about the other."""
    store_bytes(inside, "/f", DATA[:3 * BLOCK])
    node = found(share, "/f")
    view = share.index.view()
    first = share.fetcher.open(view.contents.get(node.content or 0))  # type: ignore[arg-type]
    assert first is not None
    evict_all(share)
    second = share.fetcher.open(view.contents.get(node.content or 0))  # type: ignore[arg-type]
    assert second is not None
    assert share.fetcher.fetch(node.content or 0, first, 0, 2)
    first.close()
    second.close()
    assert not whole(share, "/f")
    assert read(share, "/f") == DATA[:3 * BLOCK]
    assert share.index.view().operations.cached_bytes() == 3 * BLOCK


@pytest.mark.parametrize("gone", ["bytes", "map", "both"])
def test_a_part_that_is_being_evicted_is_not_taken_for_what_is_here(
        share: Share, inside: MemoryStore, gone: str) -> None:
    """Who has looked it up before opens what is left of its two files."""
    store_bytes(inside, "/f", DATA[:3 * BLOCK])
    node = found(share, "/f")
    row = share.index.view().contents.get(node.content or 0)
    assert row is not None
    blocks = share.fetcher.open(row)
    assert blocks is not None and share.fetcher.fetch(row.id, blocks, 0, 1)
    blocks.close()
    path = share.files.path(blocks.name)
    for left in [path] * (gone != "map") + [map_path(path)] * (gone != "bytes"):
        left.unlink()
    assert read(share, "/f") == DATA[:3 * BLOCK]
    assert share.index.view().operations.cached_bytes() == 3 * BLOCK
    assert share.index.write(lambda view: view.contents.recount()) == 3 * BLOCK


def test_a_cache_without_its_folder_is_an_error_and_not_an_eviction(share: Share, inside: MemoryStore) -> None:
    store_bytes(inside, "/f", DATA[:3 * BLOCK])
    node = found(share, "/f")
    shutil.rmtree(share.files.directory)
    with pytest.raises(FileNotFoundError):
        share.open(node)


def test_a_cache_file_that_vanished_is_fetched_again(share: Share, inside: MemoryStore) -> None:
    store_bytes(inside, "/f", DATA[:BLOCK])
    assert read(share, "/f") == DATA[:BLOCK]
    for file in list(share.files.files()):
        share.files.path(file).unlink()
    assert read(share, "/f") == DATA[:BLOCK]
    assert share.index.view().operations.cached_bytes() == BLOCK


def test_a_cache_file_that_vanished_before_its_upload_is_an_error_and_not_an_empty_file(
        share: Share, inside: MemoryStore) -> None:
    names(share)
    save(share, "/f", DATA[:BLOCK])
    for file in list(share.files.files()):
        share.files.path(file).unlink()
    with pytest.raises(OSError):
        read(share, "/f")
    row = share.index.view().contents.get(found(share, "/f").content or 0)
    assert row is not None and row.file is not None, "the row still tells which file is missing"


def test_random_readers_and_evictions(share: Share, inside: MemoryStore, clock: Clock) -> None:
    for number in range(4):
        store_bytes(inside, f"/{number}", DATA[number:number + 4 * BLOCK])
    nodes = [found(share, f"/{number}") for number in range(4)]
    stop = threading.Event()

    def evicting() -> None:
        while not stop.is_set():
            evict_all(share)

    def reading(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(15):
            number = generator.randrange(4)
            with share.open(nodes[number]) as reader:
                position = generator.randrange(4 * BLOCK)
                reader.seek(position)
                piece = reader.read(generator.randrange(1, 2 * BLOCK))
                assert piece == DATA[number + position:number + position + len(piece)]

    evictor = threading.Thread(target=evicting)
    evictor.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(reading, seed) for seed in range(4)]:
                future.result(60)
    finally:
        stop.set()
        evictor.join(10)
    evict_all(share)
    assert share.index.view().operations.cached_bytes() == 0
    assert share.index.write(lambda view: view.contents.recount()) == 0


def test_a_file_deleted_while_it_is_read_is_read_to_its_end(share: Share, inside: MemoryStore) -> None:
    save(share, "/f", DATA[:3 * BLOCK])
    upload(share, "/f", confirmed=True)
    with share.open(found(share, "/f")) as reader:
        share.delete("/f")
        assert b"".join(iter(lambda: reader.read(BLOCK), b"")) == DATA[:3 * BLOCK]


def test_the_first_bytes_or_the_error_are_there_when_open_returns(
        make_share: MakeShare, inside: MemoryStore) -> None:
    def plan(call: Call) -> Fault | None:
        return Fault(before=NotFoundError("Nothing here")) if call.verb == "read" else None

    share = make_share(FaultyStore(inside, plan))
    store_bytes(inside, "/f", DATA)
    with pytest.raises(TemporaryError):
        share.open(found(share, "/f"))
    healthy = make_share(inside, state="other")
    reader = healthy.open(found(healthy, "/f"))
    assert isinstance(reader, BlockReader) and reader.whole_file is None
    reader.close()
