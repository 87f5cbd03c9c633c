"""What was found once is found again without asking the index, and never when it is not true any more."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.generation import Generation
from davfusion.cache.index import Index
from davfusion.cache.listing import Freshness
from davfusion.cache.node import PropertyChange
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.memory import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def opened(state: Path, store: MemoryStore, clock: Clock) -> Share:
    state.mkdir(exist_ok=True)
    return Share(state, store, index=Index(state / "index.db", clock=clock),
                 settings=CacheSettings(freshness=Freshness(revalidate_after=60)))


@pytest.fixture
def shares(tmp_path: Path, store: MemoryStore, clock: Clock) -> Iterator[tuple[Share, Share]]:
    """One share opened twice, as by two processes."""
    both = opened(tmp_path / "state", store, clock), opened(tmp_path / "state", store, clock)
    yield both
    for share in both:
        share.close()


def put(share: Share, path: str, body: bytes) -> None:
    with share.receive(len(body)) as incoming:
        incoming.write(body)
        share.put(path, incoming)


CHANGES: dict[str, Callable[[Share], object]] = {
    "content": lambda share: put(share, "/d/f", b"other"),
    "deleted": lambda share: share.delete("/d/f"),
    "moved": lambda share: share.move("/d/f", "/f", overwrite=False),
    "folder moved": lambda share: share.move("/d", "/e", overwrite=False),
    "times": lambda share: share.change_properties("/d/f", [PropertyChange("{x}y", None)], modified=5.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_another_process_is_seen_at_once(shares: tuple[Share, Share], change: str) -> None:
    one, other = shares
    one.make_folder("/d")
    put(one, "/d/f", b"x")
    other.find("/d/f")  # lists the root
    before = other.find("/d/f")
    assert other.find("/d/f") is before is not None
    CHANGES[change](one)
    after = other.find("/d/f")
    assert after == other.find_known("/d/f") != before
    assert one.find("/d/f") == after


def test_a_folder_is_still_listed_again_when_it_is_old(
        shares: tuple[Share, Share], store: MemoryStore, clock: Clock) -> None:
    store.create_directory("/d")
    _store(store, "/d/f", b"old")
    share, _ = shares
    first = share.find("/d/f")
    assert first is not None and first.size == 3
    _store(store, "/d/f", b"newer")
    clock.time += 59
    assert share.find("/d/f") == first
    clock.time += 2
    second = share.find("/d/f")
    assert second is not None and second.size == 5
    _store(store, "/d/f", b"the newest")
    clock.time -= 30
    third = share.find("/d/f")
    assert third is not None and third.size == 10


def _store(store: MemoryStore, path: str, body: bytes) -> None:
    store.store_fileobject(io.BytesIO(body), path)


def test_threads_that_find_while_others_change(shares: tuple[Share, Share]) -> None:
    """Whatever is found after a change was acknowledged is at least as new."""
    one, other = shares
    one.make_folder("/d")
    put(one, "/d/f", b"")

    def reads(size: int) -> list[int]:
        found = [share.find("/d/f") for share in (one, other) for _ in range(20)]
        assert all(node is not None and node.size >= size for node in found)
        return [node.size for node in found if node is not None]

    with ThreadPoolExecutor(8) as threads:
        under_way = []
        for size in range(1, 60):
            put(one if size % 2 else other, "/d/f", b"x" * size)
            under_way.append(threads.submit(reads, size))
        for future in under_way:
            future.result()


def test_what_another_process_wrote_that_died_in_its_turn_is_seen(shares: tuple[Share, Share], tmp_path: Path) -> None:
    """It committed, and was killed before it could say so."""
    one, other = shares
    one.make_folder("/d")
    put(one, "/d/f", b"x")
    other.find("/d/f")  # lists the root
    assert other.find("/d/f") is other.find("/d/f") is not None
    program = ("import os, signal, sqlite3, sys\n"
               "from pathlib import Path\n"
               "from davfusion.cache.index.turn import Turn\n"
               "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
               "with Turn(Path(sys.argv[1] + '.turn')).taken():\n"
               "    database.execute('UPDATE node SET name = ? WHERE name = ?', ('g', 'f'))\n"
               "    os.kill(os.getpid(), signal.SIGKILL)")
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "state/index.db")], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    for share in shares:
        assert share.find("/d/f") is None
        assert share.find("/d/g") is not None
    put(one, "/d/g", b"longer")
    found = other.find("/d/g")
    assert found is not None and found.size == 6
    assert other.index.turns() % 2 == 0


def test_every_thread_compares_its_own_version_while_somebody_writes() -> None:
    versions = iter([7, 7, 9, 9])
    generation = Generation(turns=lambda: 1, data_version=lambda: next(versions))
    first = generation.now()
    assert generation.now() == first
    changed = generation.now()
    assert changed > first
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(generation.now).result() > changed


def test_between_two_turns_the_count_of_turns_decides() -> None:
    now = {"turns": 2, "version": 7}
    generation = Generation(turns=lambda: now["turns"], data_version=lambda: now["version"])
    found = []
    for turns, version in ((2, 7), (3, 7), (3, 8), (4, 8), (6, 9), (7, 10), (8, 10)):
        now.update(turns=turns, version=version)
        found.append(generation.now())
        assert generation.now() == found[-1]
    assert found == sorted(set(found)), "each may be another state"
