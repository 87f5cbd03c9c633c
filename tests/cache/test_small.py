"""Small contents, which lie in the index: from the body to eviction, and beside files of a database from before."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import pytest

from davfusion.cache import space
from davfusion.cache.contents import SMALL
from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Durability
from davfusion.cache.reader import SmallReader
from davfusion.cache.recovery import recover
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.store.errors import TemporaryError
from davfusion.store.memory import MemoryStore
from davfusion.store.statistics import StatisticsStore
from davfusion.verification import Verification
from tests.cache.conftest import MakeShare
from tests.cache.world import GatedStore, names, read, save, store_bytes, upload

MB = 1_000_000


def held(share: Share, path: str) -> tuple[bool, bool, bool]:
    """Of the content of a file: whether it is whole here, in a file, in the index."""
    view = share.index.view()
    record = view.nodes.resolve(path)
    assert record is not None
    opened = view.contents.opened(record.content or 0)
    assert opened is not None
    return opened[0].whole, opened[0].file is not None, opened[1] is not None


def rows(share: Share) -> int:
    return share.index.view().contents.count_small()


# -- bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
@pytest.mark.parametrize(("size", "place"), [(1, "index"), (SMALL - 1, "index"), (SMALL, "index"), (SMALL + 1, "file"),
                                             (10 * SMALL, "file")])
def test_a_body_lies_in_the_index_up_to_a_size(
        make_share: MakeShare, inside: MemoryStore, durability: Durability, announced: bool, size: int, place: str
        ) -> None:
    share = make_share(inside, CacheSettings(durability=durability))
    names(share)
    data = bytes(itertools.islice(itertools.cycle(range(251)), size))
    with share.receive(size if announced else None) as incoming:
        for start in range(0, size, 1000):
            incoming.write(data[start:start + 1000])
        node, created = share.put("/f", incoming)
    assert created and node == share.find("/f")
    assert held(share, "/f") == (True, place == "file", place == "index")
    assert read(share, "/f") == data
    assert len(list(share.files.files())) == (1 if place == "file" else 0)
    assert share.files.received_bytes() == 0
    upload(share, "/f")
    assert inside.get_file("/f") == data


def test_an_empty_body_needs_no_place(share: Share) -> None:
    names(share)
    save(share, "/f", b"")
    assert held(share, "/f") == (True, False, False)
    assert read(share, "/f") == b""
    assert rows(share) == 0


@pytest.mark.parametrize("announced", [SMALL, None, 3 * SMALL])
@pytest.mark.parametrize("sent", [0, 1, SMALL, SMALL + 1, 2 * SMALL])
def test_a_body_that_is_cut_leaves_nothing(share: Share, tmp_path: Path, announced: int | None, sent: int) -> None:
    before = save(share, "/f", b"old")
    with pytest.raises(ConnectionError), share.receive(announced) as incoming:
        for _ in range(sent):
            incoming.write(b"x")
        raise ConnectionError("cut")
    assert share.files.received_bytes() == 0
    assert list((tmp_path / "state/incoming").iterdir()) == []
    assert list(share.files.files()) == []
    assert rows(share) == 1
    assert share.find("/f") == before and read(share, "/f") == b"old"


def test_bodies_in_memory_count_as_used(share: Share) -> None:
    before = share.space.used()
    with share.receive(SMALL) as incoming:
        assert share.space.used() - before == SMALL, "what was announced is reserved"
        incoming.write(b"x")
        assert share.space.used() - before == SMALL
    with share.receive(None) as incoming:
        incoming.write(b"x" * 100)
        assert share.space.used() - before == 100
    assert share.space.used() == before


# -- statements and flushes ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/folder/f", "/folder/new", "/folder/a/b/c/d/e"], ids=["replaced", "new", "deep"])
def test_saving_a_small_file_takes_few_statements(share: Share, path: str) -> None:
    for folder in ("/folder", "/folder/a", "/folder/a/b", "/folder/a/b/c", "/folder/a/b/c/d"):
        share.make_folder(folder)
    save(share, "/folder/f", b"old")
    statements: list[str] = []
    incoming = share.receive(4)
    incoming.write(b"data")

    def guard(view: object) -> None:
        assert view.find(path) is None or path == "/folder/f"  # type: ignore[attr-defined]
        assert view.locks_on(path) == [] == view.locks_on("/folder")  # type: ignore[attr-defined]

    def traced(view):  # type: ignore[no-untyped-def]
        view._connection.set_trace_callback(statements.append)
    share.index.write(traced)
    statements.clear()
    node, _ = share.put(path, incoming, guard=guard)
    share.index.write(lambda view: view._connection.set_trace_callback(None))
    end = statements.index("COMMIT")
    within = [statement for statement in statements[:end] if not statement.startswith(("BEGIN", "SAVEPOINT"))]
    assert within and len(within) <= 6 - 1, within
    assert share.index.view().find(path) == node


# -- eviction and fetching ----------------------------------------------------------------------------


def test_small_files_are_kept_in_the_index_when_they_were_read(share: Share, inside: MemoryStore) -> None:
    store_bytes(inside, "/f", b"f" * SMALL)
    names(share)
    assert held(share, "/f") == (False, False, False)
    node = share.find("/f")
    assert node is not None
    with share.open(node) as reader:
        assert isinstance(reader, SmallReader) and reader.size == SMALL
        assert reader.seek(SMALL - 2) == SMALL - 2 and reader.read(10) == b"ff"
    assert held(share, "/f") == (True, False, True)
    assert list(share.files.files()) == []
    inside.delete("/f", is_dir=False)
    assert read(share, "/f") == b"f" * SMALL, "nothing was asked of the store"


def test_who_wants_a_small_file_at_once_fetches_it_once(make_share: MakeShare, inside: MemoryStore) -> None:
    gated = GatedStore(StatisticsStore(inside), "read")
    store_bytes(inside, "/f", b"data")
    shares = [make_share(gated) for _ in range(2)]
    names(shares[0])
    reads: list[str] = []
    plain = gated.read

    def counted(path: str, *given, **named):  # type: ignore[no-untyped-def]
        reads.append(path)
        return plain(path, *given, **named)
    gated.read = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        with gated.held():
            answers = [pool.submit(read, shares[number % 2], "/f") for number in range(8)]
            assert gated.arrived.wait(10)
        assert [answer.result(20) for answer in answers] == [b"data"] * 8
    assert reads == ["/f"]


def test_a_small_file_that_changed_in_the_store_is_not_mixed_up(share: Share, inside: MemoryStore) -> None:
    store_bytes(inside, "/f", b"first")
    names(share)
    node = share.find("/f")
    assert node is not None
    store_bytes(inside, "/f", b"other")
    with pytest.raises(TemporaryError):
        share.open(node)
    assert read(share, "/f") == b"other"
    assert rows(share) == 1


def test_eviction_takes_small_contents_too_and_frees_their_pages(
        make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, CacheSettings(limits=SpaceLimits(cache_size=30 * MB)))
    for number in range(300):
        store_bytes(inside, f"/{number:03}", bytes([number % 256]) * SMALL)
    names(share)
    save(share, "/dirty", b"d" * SMALL)
    for number in range(300):
        read(share, f"/{number:03}")
    assert rows(share) == 301
    assert share.index.view().contents.held_bytes() == 301 * SMALL
    used = share.space.used()
    freed = share.space.evict(200 * SMALL)
    assert 200 * SMALL <= freed <= 203 * SMALL
    assert used - share.space.used() > 150 * SMALL, "their pages are free"
    share.space.evict(2**60)
    assert rows(share) == 1 and read(share, "/dirty") == b"d" * SMALL
    for number in (0, 150, 299):
        assert read(share, f"/{number:03}") == bytes([number % 256]) * SMALL
    assert share.index.write(lambda view: view.contents.recount()) == 0, "files only"


def test_a_cache_full_of_small_files_refuses_and_never_loses(
        make_share: MakeShare, inside: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "LONGEST_WAIT", 0.0)
    share = make_share(inside, CacheSettings(limits=SpaceLimits(cache_size=24 * MB)))
    names(share)
    saved = 0
    with pytest.raises(CacheFullError):
        for number in range(2000):
            save(share, f"/{number}", number.to_bytes(4, "big") * (SMALL // 4))
            saved += 1
    assert saved > 100
    assert share.space.used() <= 24 * MB
    for number in range(0, saved, 7):
        assert read(share, f"/{number}") == number.to_bytes(4, "big") * (SMALL // 4)
    for number in range(saved):
        upload(share, f"/{number}", confirmed=True)
    save(share, "/again", b"x" * SMALL)
    assert share.space.used() <= 24 * MB


def test_contents_in_the_index_go_with_their_rows(share: Share) -> None:
    save(share, "/f", b"one")
    save(share, "/f", b"two")
    (content,) = share.index.view().contents.unreferenced(0, 10)
    assert share.index.write(lambda view: view.contents.remove_unreferenced(content)) is None
    assert rows(share) == 1 and read(share, "/f") == b"two"


# -- both kinds side by side --------------------------------------------------------------------------


def old_index(path: Path) -> None:
    """An index as the first release made it."""
    script = resources.files("davfusion.cache.index").joinpath("migrations/0001_tree.sql").read_text()
    connection = sqlite3.connect(path)
    connection.executescript(script + "; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
    connection.close()


def test_an_index_from_before_goes_on_with_its_files(tmp_path: Path, inside: MemoryStore) -> None:
    """A share of the first release: a file to be uploaded, one that is in the store too, one that is only there."""
    (tmp_path / "contents/aa").mkdir(parents=True)
    old_index(tmp_path / "index.db")
    stored = store_bytes(inside, "/stored", b"stored" * 10)
    connection = sqlite3.connect(tmp_path / "index.db")
    for number, (name, data) in enumerate((("new", b"new" * 10), ("stored", b"stored" * 10)), start=1):
        (tmp_path / f"contents/aa/aa{number:030x}").write_bytes(data)
        connection.execute("INSERT INTO content (id, size, file, whole, held, used) VALUES (?, ?, ?, 1, ?, 1)",
                           (number, len(data), f"aa{number:030x}", len(data)))
        connection.execute("INSERT INTO node (folder, parent, name, content, modified, created) "
                           "VALUES (0, 1, ?, ?, 1, 1)", (name, number))
        connection.execute("UPDATE counter SET value = value + ? WHERE name = 'cached_bytes'", (len(data),))
    connection.execute("UPDATE node SET synced_parent = 1, synced_folder = '', synced_name = 'stored', "
                       "synced_content = 2, synced_version = ?, confirmed = 1 WHERE name = 'stored'", (stored.version,))
    connection.commit()
    connection.close()
    share = Share(tmp_path, inside)
    recover(share.index, share.files, tmp_path, boot="later")
    assert names(share) == ["new", "stored"]
    assert read(share, "/new") == b"new" * 10 and read(share, "/stored") == b"stored" * 10
    assert held(share, "/new") == (True, True, False)
    save(share, "/small", b"small")
    upload(share, "/new")
    assert inside.get_file("/new") == b"new" * 10
    share.space.evict(2**60)
    assert held(share, "/stored") == (False, False, False)
    assert read(share, "/stored") == b"stored" * 10
    assert held(share, "/stored") == (True, False, True), "what is fetched now lies in the index"
    assert share.index.write(lambda view: view.contents.recount()) == 30
    save(share, "/new", b"newer")
    assert read(share, "/new") == b"newer"
    share.close()


def test_a_small_version_after_a_large_one_and_back(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, CacheSettings(durability=Durability.PROCESS_SAFE))
    names(share)
    for data in (b"a", b"b" * 100_000, b"c", b"", b"d" * 100_000, b"e"):
        save(share, "/f", data)
        assert read(share, "/f") == data
        share.copy("/f", "/copy", overwrite=True)
        assert read(share, "/copy") == data
    state = share.files.directory.parent
    recover(share.index, share.files, state, boot="after power loss")
    assert read(share, "/f") == b"e" == read(share, "/copy")


def test_a_damaged_large_version_gives_way_to_the_small_one_before(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, CacheSettings(durability=Durability.PROCESS_SAFE))
    assert share.flusher is not None
    share.flusher.stop()
    names(share)
    save(share, "/f", b"small")
    save(share, "/f", b"large" * 20_000)
    (file,) = share.files.files()
    share.files.path(file).write_bytes(bytes(100_000))
    state = share.files.directory.parent
    share.index.write(lambda view: view.operations.set_meta("boot", "first"))
    report = recover(share.index, share.files, state, boot="second")
    assert report.damaged == ["/f"]
    assert read(share, "/f") == b"small"


# -- verification -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["DELETE FROM small", "UPDATE small SET bytes = substr(bytes, 2)"])
def test_bytes_that_the_index_lost_are_found(share: Share, tmp_path: Path, damage: str) -> None:
    save(share, "/new", b"new")
    save(share, "/stored", b"stored")
    upload(share, "/stored", confirmed=True)
    index = tmp_path / "state/index.db"
    sound = Verification(share, index, repair=False).run()
    assert sound.problems == [] and sound.contents == 2
    share.index.write(lambda view: view._connection.execute(damage))
    report = Verification(share, index, repair=True).run()
    assert sorted((problem.where, problem.repaired) for problem in report.problems) == [
        ("/new", False), ("/stored", True)]
    assert read(share, "/stored") == b"stored"


# -- kill -9 ------------------------------------------------------------------------------------------

_WRITER = """
import sys
from pathlib import Path
from davfusion.cache.index import Durability
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.memory import MemoryStore
share = Share(Path(sys.argv[1]), MemoryStore(), settings=CacheSettings(durability=Durability(sys.argv[2])))
share.find("/none")
number = 0
while True:
    number += 1
    data = number.to_bytes(4, "big") * (1000 if number % 3 else 20_000)
    with share.receive(len(data) if number % 2 else None) as incoming:
        incoming.write(data)
        share.put(f"/{number % 10}", incoming)
    print(number, flush=True)
"""


@pytest.mark.parametrize("durability", Durability)
def test_what_was_acknowledged_before_kill_9_is_there(tmp_path: Path, durability: Durability) -> None:
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), durability.value],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 200:
            process.kill()
    acknowledged = max(acknowledged, 200)
    process.wait()
    share = Share(tmp_path, MemoryStore(), settings=CacheSettings(durability=durability))
    recover(share.index, share.files, tmp_path, boot="the same")
    for last in range(acknowledged - 9, acknowledged + 1):
        data = read(share, f"/{last % 10}")
        number = int.from_bytes(data[:4], "big")
        assert number in (last, acknowledged + 1), "as acknowledged, or as the one request that got no answer"
        assert data == number.to_bytes(4, "big") * (1000 if number % 3 else 20_000)
    share.close()
