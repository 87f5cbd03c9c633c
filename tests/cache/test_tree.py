"""Operations on the local tree against a model in a dictionary, with any names and any order."""

from __future__ import annotations

import string
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from davfusion.cache.errors import (
    IntoItselfError,
    NodeExistsError,
    NoParentError,
    NoSuchNodeError,
    TreeError,
    WrongKindError,
)
from davfusion.cache.index import Durability
from davfusion.cache.node import PropertyChange
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.interface import join, split
from davfusion.store.memory import MemoryStore
from tests.cache.world import names, read, save, store_bytes

ODD = ["%", "a%2Fb",
       "#", "?", ";", "+", "'", '"', "\u00e9", "e\u0301", "😀", " ", "a b ", "*", "[x]", "_", "\\", "x" * 255, "-",
       "con", "NUL", ".hidden", "..x", "a\tb", "\u202e", "A", "a", "ß", "ẞ", "0", "1e3", "é" * 100, "\n"]
letters = st.characters(blacklist_categories=("Cs",), blacklist_characters="/\0")
good_name = st.one_of(
    st.sampled_from(ODD), st.text(letters, min_size=1, max_size=8).filter(lambda name: name not in (".", "..")))
small_name = st.sampled_from(["a", "b", "c", "é", "%41"])
paths = st.lists(small_name, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@dataclass
class Entry:
    data: bytes | None
    """None: a folder."""
    properties: dict[str, bytes]


class Model:
    """The tree as a dictionary of paths."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {"/": Entry(None, {})}

    def is_folder(self, path: str) -> bool:
        return path in self.entries and self.entries[path].data is None

    def below(self, path: str) -> list[str]:
        return [other for other in self.entries if other == path or other.startswith(path + "/")]

    def place(self, path: str) -> None:
        if not self.is_folder(split(path)[0]):
            raise NoParentError("", path)

    def put(self, path: str, data: bytes) -> None:
        self.place(path)
        if self.is_folder(path):
            raise WrongKindError("", path)
        old = self.entries.get(path)
        self.entries[path] = Entry(data, old.properties if old else {})

    def make_folder(self, path: str) -> None:
        self.place(path)
        if path in self.entries:
            raise NodeExistsError("", path)
        self.entries[path] = Entry(None, {})

    def delete(self, path: str) -> None:
        if path not in self.entries:
            raise NoSuchNodeError("", path)
        for other in self.below(path):
            del self.entries[other]

    def transfer(self, source: str, target: str, *, overwrite: bool, move: bool, infinite: bool = True) -> None:
        if source not in self.entries:
            raise NoSuchNodeError("", source)
        if source == target or target.startswith(source + "/") or source.startswith(target + "/"):
            raise IntoItselfError("", target)
        self.place(target)
        if target in self.entries:
            if not overwrite:
                raise NodeExistsError("", target)
            self.delete(target)
        for other in self.below(source) if infinite else [source]:
            entry = self.entries[other]
            self.entries[target + other[len(source):]] = Entry(entry.data, dict(entry.properties))
        if move:
            self.delete(source)


class TreeMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        # Durability is not what is looked at here
        self.share = Share(Path(self.folder.name), MemoryStore(),
                           settings=CacheSettings(durability=Durability.PROCESS_SAFE))
        self.share.find("/none")
        self.model = Model()

    def teardown(self) -> None:
        self.share.close()
        self.folder.cleanup()

    def both(self, real, modelled) -> None:  # type: ignore[no-untyped-def]
        """The same outcome on both sides: the same error, or none."""
        try:
            modelled()
        except TreeError as error:
            with pytest.raises(type(error)):
                real()
            return
        real()

    @rule(path=paths, data=st.binary(max_size=20))
    def put(self, path: str, data: bytes) -> None:
        self.both(lambda: save(self.share, path, data), lambda: self.model.put(path, data))

    @rule(path=paths)
    def make_folder(self, path: str) -> None:
        self.both(lambda: self.share.make_folder(path), lambda: self.model.make_folder(path))

    @rule(path=paths)
    def delete(self, path: str) -> None:
        self.both(lambda: self.share.delete(path), lambda: self.model.delete(path))

    @rule(source=paths, goal=paths, overwrite=st.booleans())
    def move(self, source: str, goal: str, overwrite: bool) -> None:
        self.both(lambda: self.share.move(source, goal, overwrite=overwrite),
                  lambda: self.model.transfer(source, goal, overwrite=overwrite, move=True))

    @rule(source=paths, goal=paths, overwrite=st.booleans(), infinite=st.booleans())
    def copy(self, source: str, goal: str, overwrite: bool, infinite: bool) -> None:
        self.both(lambda: self.share.copy(source, goal, overwrite=overwrite, infinite=infinite),
                  lambda: self.model.transfer(source, goal, overwrite=overwrite, move=False, infinite=infinite))

    @rule(path=paths, name=st.sampled_from(["{n}a", "{n}b"]), value=st.none() | st.binary(min_size=1, max_size=5))
    def change_property(self, path: str, name: str, value: bytes | None) -> None:
        def modelled() -> None:
            if path not in self.model.entries:
                raise NoSuchNodeError("", path)
            if value is None:
                self.model.entries[path].properties.pop(name, None)
            else:
                self.model.entries[path].properties[name] = value
        self.both(lambda: self.share.change_properties(path, [PropertyChange(name, value)]), modelled)

    @invariant()
    def the_trees_are_equal(self) -> None:
        if not hasattr(self, "share"):
            return
        root = self.share.find("/")
        assert root is not None
        found = {node.path: node for node in [root, *self.share.walk(root)]}
        assert set(found) == set(self.model.entries)
        for path, entry in self.model.entries.items():
            assert found[path].is_folder == (entry.data is None)
            assert self.share.properties(found[path]) == entry.properties
            assert self.share.find(path) == found[path]
            if entry.data is not None:
                assert read(self.share, path) == entry.data

    @invariant()
    def bytes_are_counted_rightly(self) -> None:
        if not hasattr(self, "share"):
            return
        counted = self.share.index.view().operations.cached_bytes()
        assert self.share.index.write(lambda view: view.contents.recount()) == counted


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


@settings(max_examples=40, deadline=None)
@given(st.lists(good_name, min_size=1, max_size=12, unique=True))
def test_any_name_is_kept_as_it_is(wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        share = Share(Path(folder), MemoryStore(), settings=CacheSettings(durability=Durability.PROCESS_SAFE))
        share.make_folder("/folder")
        for number, name in enumerate(wanted):
            save(share, join("/folder", name), str(number).encode())
        assert names(share, "/folder") == sorted(wanted)
        for number, name in enumerate(wanted):
            assert read(share, join("/folder", name)) == str(number).encode()
            share.move(join("/folder", name), join("/", f"moved {name}"), overwrite=False)
        assert names(share, "/folder") == []
        assert names(share) == sorted(["folder", *(f"moved {name}" for name in wanted)], key=str.encode)
        share.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(good_name, min_size=1, max_size=12, unique=True))
def test_any_name_of_the_store_is_shown_as_it_is(wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = MemoryStore()
        for name in wanted:
            store_bytes(store, f"/{name}/{name}", name.encode())
        share = Share(Path(folder), store, settings=CacheSettings(durability=Durability.PROCESS_SAFE))
        assert names(share) == sorted(wanted, key=str.encode)
        for name in wanted:
            assert read(share, f"/{name}/{name}") == name.encode()
        share.close()


ROOT = [
    lambda share: share.delete("/"),
    lambda share: share.make_folder("/"),
    lambda share: share.move("/", "/x", overwrite=True),
    lambda share: share.copy("/", "/x", overwrite=True),
    lambda share: share.move("/a", "/", overwrite=True),
    lambda share: share.copy("/a", "/", overwrite=True),
    lambda share: save(share, "/", b"x"),
]


@pytest.mark.parametrize("change", ROOT)
def test_the_root_stays(share: Share, change) -> None:  # type: ignore[no-untyped-def]
    share.make_folder("/a")
    with pytest.raises((NodeExistsError, IntoItselfError)):
        change(share)
    assert names(share) == ["a"]


def test_a_move_keeps_the_entity_tag_and_a_new_save_changes_it(share: Share) -> None:
    node = save(share, "/a", b"x")
    share.move("/a", "/b", overwrite=False)
    moved = share.find("/b")
    assert moved is not None and (moved.etag, moved.id) == (node.etag, node.id)
    assert save(share, "/b", b"x").etag != node.etag
    share.copy("/b", "/c", overwrite=False)
    copied = share.find("/c")
    assert copied is not None and copied.size == 1 and copied.dirty


def test_what_a_copy_shares_is_kept_until_the_last_is_gone(share: Share) -> None:
    save(share, "/a", b"x" * 50_000)
    share.copy("/a", "/b", overwrite=False)
    share.delete("/a")
    view = share.index.view()
    assert view.contents.unreferenced(0, 10) == []
    assert read(share, "/b") == b"x" * 50_000
    share.delete("/b")
    (content,) = view.contents.unreferenced(0, 10)
    file = share.index.write(lambda view: view.contents.remove_unreferenced(content))
    assert file is not None
    assert view.operations.cached_bytes() == 0


def test_a_copy_of_a_folder_that_was_never_listed_is_complete(share: Share) -> None:
    for path in ("/a/b/c", "/a/d", "/a/e/f/g"):
        store_bytes(share.store, path, path.encode())
    share.copy("/a", "/copy", overwrite=False)
    for path in ("/a/b/c", "/a/d", "/a/e/f/g"):
        assert read(share, path.replace("/a", "/copy", 1)) == path.encode()
    share.copy("/a", "/shell", overwrite=False, infinite=False)
    assert names(share, "/shell") == []


def test_deep_trees_are_no_problem(share: Share) -> None:
    path = ""
    for _ in range(300):
        path += "/d"
        share.make_folder(path)
    save(share, f"{path}/f", b"deep")
    share.copy("/d", "/copy", overwrite=False)
    share.move("/copy", "/moved", overwrite=False)
    assert read(share, "/moved" + path[2:] + "/f") == b"deep"
    root = share.find("/")
    assert root is not None
    assert sum(1 for _ in share.walk(root)) == 602


def test_alphabet_is_not_case_blind(share: Share) -> None:
    for letter in string.ascii_letters:
        save(share, f"/{letter}", letter.encode())
    assert len(names(share)) == 52
