"""Paths are found at little cost, and the short way finds what the long way finds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.cache.index import Index
from davfusion.cache.index.paths import DEEPEST
from davfusion.cache.parts import ChunkedLayout
from davfusion.cache.share import Share
from davfusion.store.memory import MemoryStore
from tests.cache.world import Clock, save, store_bytes


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def share(tmp_path: Path, store: MemoryStore) -> Iterator[Share]:
    (tmp_path / "state").mkdir()
    share = Share(tmp_path / "state", store)
    yield share
    share.close()


class Statements:
    """The statements that this thread's reading connection ran."""

    def __init__(self, share: Share) -> None:
        self.seen: list[str] = []
        self._connection = share.index.view().nodes._connection

    def __enter__(self) -> list[str]:
        self._connection.set_trace_callback(self.seen.append)
        return self.seen

    def __exit__(self, *_: object) -> None:
        self._connection.set_trace_callback(None)


def unrelated(share: Share) -> None:
    """A commit that has nothing to do with any node."""
    share.index.write(lambda view: view.operations.add("cache_hits", 1))


def test_nothing_is_asked_while_nothing_changes(share: Share) -> None:
    share.make_folder("/a")
    save(share, "/a/f", b"x")
    share.find("/a/f")  # lists the root
    found = share.find("/a/f")
    with Statements(share) as statements:
        assert share.find("/a/f") is found is not None
    assert statements == []


def test_after_a_commit_one_statement_tells_that_it_is_the_same(share: Share) -> None:
    folder = ""
    for name in "abcdef":
        folder += f"/{name}"
        share.make_folder(folder)
    save(share, f"{folder}/f", b"x")
    share.find(f"{folder}/f")  # lists the root
    found = share.find(f"{folder}/f")
    unrelated(share)
    with Statements(share) as statements:
        assert share.find(f"{folder}/f") is found
    assert len(statements) == 1, statements


def test_where_nobody_else_changes_the_store_nothing_ever_becomes_old(tmp_path: Path, store: MemoryStore) -> None:
    clock = Clock()
    (tmp_path / "state").mkdir()
    share = Share(tmp_path / "state", store, layout=ChunkedLayout(),
                  index=Index(tmp_path / "state" / "index.db", clock=clock))
    share.make_folder("/a")
    save(share, "/a/f", b"x")
    clock.advance(1_000_000)
    with Statements(share) as statements:
        found = share.find("/a/f")
        assert share.find("/a/f") is found is not None
        assert share.find("/a") is not None
    assert [each.split()[0] for each in statements] == ["SELECT", "SELECT"]
    share.close()


def test_one_statement_tells_that_nothing_is_there(share: Share) -> None:
    share.make_folder("/a")
    share.find("/a")
    with Statements(share) as statements:
        assert share.find("/a/none") is None
    assert len(statements) == 1, statements


def test_as_deep_as_one_likes(share: Share) -> None:
    folder = ""
    for number in range(DEEPEST + 3):
        folder += f"/{number}"
        share.make_folder(folder)
        save(share, f"{folder}/file", b"x" * number)
    while folder:
        for path in (folder, f"{folder}/file", f"{folder}/none", f"{folder}/file/none"):
            assert share.find(path) == share.find_known(path)
        folder = folder.rpartition("/")[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_short_way_finds_what_the_long_way_finds(
        share: Share, store: MemoryStore, tmp_path: Path, seed: int) -> None:
    """Two openings of a tree, half of it from the store, that both change while both look."""
    choice = random.Random(seed)
    other = Share(tmp_path / "state", store)
    for path in ("/a/b/c", "/a/b/f", "/b/f", "/c"):
        folder = ""
        for name in path.split("/")[1:-1]:
            folder += f"/{name}"
            if folder not in ("/a", "/a/b", "/b") or not store.exists(folder):
                store.create_directory(folder)
        store_bytes(store, path, b"from the store")
    paths = [f"{folder}/{name}" for folder in ("", "/a", "/b", "/a/b", "/c", "/a/b/c") for name in "abcf"]
    for _ in range(150):
        one = choice.choice([share, other])
        change(one, choice, paths)
        for each in (share, other):
            for path in choice.sample(paths, 6):
                assert each.find(path) == each.find_known(path), path
    other.close()


def change(share: Share, choice: random.Random, paths: list[str]) -> None:
    """Some change, where it is possible."""
    path, target = choice.choice(paths), choice.choice(paths)
    node, folder = share.find(path), share.find(path.rpartition("/")[0] or "/")
    match choice.randrange(4):
        case 0 if node is None and folder is not None and folder.is_folder:
            share.make_folder(path)
        case 1 if (node is None or not node.is_folder) and folder is not None and folder.is_folder:
            save(share, path, choice.randbytes(choice.randrange(100)))
        case 2 if node is not None:
            share.delete(path)
        case 3 if node is not None and not target.startswith(path):
            above = share.find(target.rpartition("/")[0] or "/")
            if above is not None and above.is_folder and not path.startswith(target):
                share.move(path, target, overwrite=True)


def test_a_folder_that_was_never_listed_is_no_proof_of_absence(share: Share, store: MemoryStore) -> None:
    store.create_directory("/a")
    store_bytes(store, "/a/f", b"x")
    assert share.find("/a") is not None
    found = share.find("/a/f")
    assert found is not None and found.size == 1
