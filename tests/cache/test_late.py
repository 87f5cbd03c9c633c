"""What is remembered of writes that may take effect yet, and which answers of the store make one a suspect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.cache import late, synced
from davfusion.cache.index import Index, Kind, View
from davfusion.cache.node import ROOT_ID
from davfusion.store.interface import Metadata

SIZE = 5


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index(tmp_path / "index.db", clock=lambda: 1000.0)
    yield opened
    opened.close()


def given_up(view: View, kind: Kind, path: str, *, node: int = 99, at: float = 1000.0) -> int:
    """A late operation; a write is of SIZE bytes."""
    content = view.contents.insert(size=SIZE, used=0.0) if kind is Kind.WRITE else None
    operation = view.operations.begin(kind, path, node, content)
    view.operations.give_up(operation, at)
    return operation


def known(view: View, path: str, *, version: str | None, folder: bool = False) -> int:
    """A node that the store is known to hold."""
    place, name = synced.place_of(path)
    return view.nodes.insert(folder=int(folder), parent=ROOT_ID, name=name, modified=0.0, created=0.0, confirmed=1,
                             synced_parent=ROOT_ID, synced_folder=place, synced_name=name, synced_version=version)


def file(path: str, *, size: int = SIZE, version: str = "v2") -> Metadata:
    return Metadata(path, is_dir=False, bytes=size, modified=0.0, version=version)


def folder(path: str) -> Metadata:
    return Metadata(path, is_dir=True, bytes=0, modified=0.0, version=None)


def open_paths(index: Index) -> list[str]:
    return [operation.path for operation in index.view().operations.open()]


@pytest.mark.parametrize(("kind", "path", "shown", "suspected"), [
    (Kind.WRITE, "/a/f", file("/a/f"), True),
    (Kind.WRITE, "/a/f", file("/a/f", size=SIZE + 1), False),
    (Kind.WRITE, "/a/g", file("/a/f"), False),
    (Kind.MAKE, "/a/f", file("/a/f"), False),
    (Kind.CLEAR, "/a/f", file("/a/f"), False),
    (Kind.MAKE, "/a/f", folder("/a/f"), True),
    (Kind.WRITE, "/a/f", folder("/a/f"), False),
    (Kind.CLEAR, "/a/f", folder("/a/f"), False),
    (Kind.WRITE, "/a/f/g", folder("/a/f"), True),
    (Kind.MAKE, "/a/f/g/h", folder("/a/f"), True),
    (Kind.CLEAR, "/a/f/g", folder("/a/f"), False),
    (Kind.WRITE, "/a/f2/g", folder("/a/f"), False),
    (Kind.WRITE, "/a/f", None, False)])
def test_what_may_have_come(index: Index, kind: Kind, path: str, shown: Metadata | None, suspected: bool) -> None:
    index.write(lambda view: given_up(view, kind, path))
    assert index.write(lambda view: late.has_come(view, "/a/f", shown)) is suspected
    assert open_paths(index) == ([path] if suspected else [])


def test_what_was_known_before_has_not_come(index: Index) -> None:
    def change(view: View) -> tuple[bool, bool]:
        given_up(view, Kind.WRITE, "/f")
        given_up(view, Kind.MAKE, "/d")
        known(view, "/f", version="v1")
        known(view, "/d", version=None, folder=True)
        return late.has_come(view, "/f", file("/f", version="v1")), late.has_come(view, "/d", folder("/d"))
    assert index.write(change) == (False, False)
    assert index.write(lambda view: late.has_come(view, "/f", file("/f", version="v2")))


def test_a_folder_in_the_place_of_a_known_file_may_have_come(index: Index) -> None:
    def change(view: View) -> bool:
        given_up(view, Kind.WRITE, "/d/f")
        known(view, "/d", version="v1")
        return late.has_come(view, "/d", folder("/d"))
    assert index.write(change)


def test_one_that_is_known_not_to_have_come_is_no_suspect(index: Index) -> None:
    operation = index.write(lambda view: given_up(view, Kind.MAKE, "/d"))
    assert not index.write(lambda view: late.has_come(view, "/d", folder("/d"), other_than=operation))
    assert index.write(lambda view: late.has_come(view, "/d", folder("/d"), other_than=operation + 1))


def test_of_several_versions_the_last_is_asked_first(index: Index) -> None:
    operations = index.write(lambda view: [given_up(view, Kind.WRITE, "/f") for _ in range(3)])
    index.write(lambda view: late.has_come(view, "/f", file("/f")))
    assert [operation.id for operation in index.view().operations.open()] == operations[-1:]


def test_nothing_is_confirmed_where_something_may_come(index: Index) -> None:
    def change(view: View) -> tuple[int, int]:
        there, beside = known(view, "/f", version="v1"), known(view, "/g", version="v1")
        view.operations.begin(Kind.CLEAR, "/f", there)
        late.give_up(view, view.operations.open()[0])
        return there, beside
    there, beside = index.write(change)
    view = index.view()
    assert (view.nodes.get(there).confirmed, view.nodes.get(beside).confirmed) == (False, True)
    assert (view.operations.may_come("/f"), view.operations.may_come("/g")) == (True, False)


def test_what_is_written_where_something_may_come_is_not_confirmed(index: Index) -> None:
    def change(view: View) -> list[int]:
        given_up(view, Kind.CLEAR, "/f")
        content = view.contents.insert(size=SIZE, used=0.0)
        nodes = [view.nodes.insert(folder=0, parent=ROOT_ID, name=name, content=content, modified=0.0, created=0.0)
                 for name in ("f", "g")]
        for node, path in zip(nodes, ("/f", "/g"), strict=True):
            synced.wrote_file(view, node, path=path, parent=ROOT_ID, content=content, version="v1", old_remains=False,
                              folders=True, confirmed=True)
        return nodes
    there, beside = index.write(change)
    assert not index.view().nodes.get(there).confirmed
    assert index.view().nodes.get(beside).confirmed


def test_nobody_lists_a_folder_to_see_what_cannot_be_confirmed_yet(index: Index) -> None:
    def change(view: View) -> int:
        operation = given_up(view, Kind.CLEAR, "/a/f")
        content = view.contents.insert(size=SIZE, used=0.0)
        view.nodes.update(known(view, "/a/f", version="v1"), confirmed=0, synced_content=content)
        return operation
    operation = index.write(change)
    assert index.view().nodes.unconfirmed_folders(2000.0, 10) == []
    index.write(lambda view: view.operations.forget_late(operation))
    assert index.view().nodes.unconfirmed_folders(2000.0, 10) == ["/a"]


def test_it_is_late_from_the_first_time_on(index: Index) -> None:
    operation = index.write(lambda view: given_up(view, Kind.WRITE, "/f", at=100.0))
    index.write(lambda view: late.has_come(view, "/f", file("/f")))
    index.write(lambda view: view.operations.give_up(operation, 900.0))
    assert [found.id for found in index.view().operations.late(101.0, 10)] == [operation]


def test_what_is_in_doubt_again_is_not_looked_for_a_last_time(index: Index) -> None:
    index.write(lambda view: given_up(view, Kind.WRITE, "/f", at=100.0))
    index.write(lambda view: late.has_come(view, "/f", file("/f")))
    assert index.view().operations.late(1000.0, 10) == []
    assert index.view().operations.may_come("/f")


def test_no_more_are_looked_for_than_asked_for(index: Index) -> None:
    index.write(lambda view: [given_up(view, Kind.CLEAR, f"/{number}", at=100.0) for number in range(5)])
    assert len(index.view().operations.late(1000.0, 3)) == 3


def test_what_is_late_is_not_pruned(index: Index) -> None:
    def change(view: View) -> None:
        given_up(view, Kind.WRITE, "/late", at=100.0)
        view.operations.finish(view.operations.begin(Kind.WRITE, "/ended", 99), 100.0)
        view.operations.prune(1000.0)
    index.write(change)
    assert index.view().operations.may_come("/late")
    assert index.view().operations.unsettled_names("", 0) == {"late"}


def test_names_on_and_below_which_something_may_come(index: Index) -> None:
    index.write(lambda view: [given_up(view, Kind.WRITE, path) for path in ("/a/f", "/a/d/e/g", "/b/h", "/ab/i")])
    operations = index.view().operations
    assert operations.late_names("/a") == {"f", "d"}
    assert operations.late_names("") == {"a", "b", "ab"}
    assert operations.late_names("/a/d/e/g") == set()


def test_a_renamed_folder_may_have_taken_along_what_came(index: Index) -> None:
    index.write(lambda view: [given_up(view, Kind.WRITE, path) for path in ("/a/f", "/a/d/g", "/ab/h")])
    index.write(lambda view: synced.moved_folder(view, 99, source="/a", target="/b/c", parent=ROOT_ID))
    operations = index.view().operations
    assert all(map(operations.may_come, ("/a/f", "/a/d/g", "/b/c/f", "/b/c/d/g", "/ab/h")))
    assert not operations.may_come("/b/ch")


@pytest.mark.parametrize(("folders", "version"), [(True, None), (False, synced.MARKER_IN_DOUBT)])
def test_a_marker_that_may_have_come_goes_with_its_folder(index: Index, folders: bool, version: str | None) -> None:
    def change(view: View) -> int:
        given_up(view, Kind.MAKE, "/d")
        node = known(view, "/d", version=None, folder=True)
        late.forget(view, view.operations.late(2000.0, 1)[0], folder("/d"), folders=folders)
        return node
    node = index.write(change)
    assert index.view().nodes.get(node).synced_version == version
    assert not index.view().operations.may_come("/d")


def test_a_last_look_waits_while_something_else_is_under_way_there(index: Index) -> None:
    def change(view: View) -> None:
        given_up(view, Kind.WRITE, "/f")
        view.operations.begin(Kind.WRITE, "/f", 98)
        late.forget(view, view.operations.late(2000.0, 1)[0], file("/f"), folders=False)
    index.write(change)
    assert index.view().operations.may_come("/f")
    assert [operation.node for operation in index.view().operations.open()] == [98]
