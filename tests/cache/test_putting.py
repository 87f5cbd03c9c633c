"""Bodies that are put together: what came of each is what would have come of it alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from davfusion.cache.errors import NoParentError, NoSuchNodeError, TreeError, UnsettledError, WrongKindError
from davfusion.cache.guard import TreeView
from davfusion.cache.incoming import Incoming
from davfusion.cache.index import View
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.store.memory import MemoryStore
from tests.cache.conftest import MakeShare
from tests.cache.world import Clock, names, read, save, store_bytes

Result = Callable[[], tuple[Node, bool]]

LARGE = bytes(100_000)
FOLDERS = ("/", "/d", "/d/e", "/d/e/f/g/h/i/j")


def nothing(view: TreeView) -> None:
    """Nothing is asked for."""


def begin(share: Share, path: str, data: bytes, *, unseen: bool = True, guard: Callable[[TreeView], None] = nothing,
          modified: float | None = None, media_type: str | None = None) -> Result:
    if unseen:
        return share.begin_put_small(path, data, guard=guard, modified=modified, media_type=media_type)
    incoming = share.receive(len(data))
    incoming.write(data)
    return share.begin_put(path, incoming, guard=guard, modified=modified, media_type=media_type)


@pytest.fixture
def tree(share: Share) -> Share:
    return planted(share)


def planted(share: Share) -> Share:
    """With folders, a file in each, and the root listed."""
    assert names(share) == []
    for folder in ("/d", "/d/e", "/d/e/f", "/d/e/f/g", "/d/e/f/g/h", "/d/e/f/g/h/i", "/d/e/f/g/h/i/j"):
        share.make_folder(folder)
    for folder in FOLDERS:
        save(share, f"{folder.rstrip('/')}/old", b"old")
    return share


def test_files_of_several_folders_are_put_together(tree: Share) -> None:
    paths = [f"{folder.rstrip('/')}/{name}" for folder in FOLDERS for name in ("old", "new", "é b")]
    asked = [begin(tree, path, path.encode()) for path in paths]
    commits = tree.index._database._commits
    outcomes = [result() for result in asked]
    assert tree.index._database._commits == commits + 1
    assert [is_new for _, is_new in outcomes] == [not path.endswith("old") for path in paths]
    assert [node for node, _ in outcomes] == [tree.find(path) for path in paths]
    assert len({node.id for node, _ in outcomes}) == len({node.content for node, _ in outcomes}) == len(paths)
    assert [read(tree, path) for path in paths] == [path.encode() for path in paths]


def test_the_later_of_two_to_one_path_wins(tree: Share) -> None:
    first, between, second = begin(tree, "/x", b"first"), begin(tree, "/y", b"y"), begin(tree, "/x", b"second")
    (one, was_new), (two, is_new) = first(), second()
    assert (was_new, is_new, one.id, between()[1]) == (True, False, two.id, True)
    assert one.etag != two.etag
    assert tree.find("/x") == two
    assert read(tree, "/x") == b"second"


def test_times_and_media_types_are_each_ones_own(tree: Share, clock: Clock) -> None:
    asked = [begin(tree, "/old", b"1", modified=5.0, media_type="a/b"), begin(tree, "/new", b"22"),
             begin(tree, "/empty", b"", modified=7.0)]
    nodes = [result()[0] for result in asked]
    assert [(node.modified, node.media_type, node.size) for node in nodes] == [
        (5.0, "a/b", 1), (clock.now, None, 2), (7.0, None, 0)]
    assert read(tree, "/empty") == b""


def test_what_is_refused_is_refused_alone(tree: Share) -> None:
    def refuse(view: TreeView) -> None:
        raise PermissionError

    expected: list[tuple[Result, type[Exception] | None]] = [
        (begin(tree, "/a", b"a"), None),
        (begin(tree, "/b", b"b", guard=refuse, unseen=False), PermissionError),
        (begin(tree, "/", b"c"), UnsettledError),
        (begin(tree, "/d/e", b"d"), UnsettledError),
        (begin(tree, "/old/x", b"e"), UnsettledError),
        (begin(tree, "/nowhere/x", b"f"), UnsettledError),
        (begin(tree, "/nowhere/x", b"f", unseen=False), NoParentError),
        (begin(tree, "/d/e", b"g", unseen=False), WrongKindError),
        (begin(tree, "/d/h", b"h"), None),
    ]
    for result, error in expected:
        if error is None:
            assert result()[1]
        else:
            with pytest.raises(error):
                result()
    assert names(tree) == ["a", "d", "old"]
    assert names(tree, "/d") == ["e", "h", "old"]


def test_locks_are_asked_for_where_there_are_any(tree: Share) -> None:
    asked: list[str] = []

    def guard(path: str) -> Callable[[TreeView], None]:
        def check(view: TreeView) -> None:
            asked.append(path)
            if view.locks_on(path):
                raise PermissionError
        return check

    paths = ["/old", "/d/old", "/d/e/new"]
    for result in [begin(tree, path, b"1", guard=guard(path)) for path in paths]:
        result()
    assert asked == []
    tree.lock("/d/old", exclusive=True, infinite=False, owner=b"", principal="me", timeout=100.0)
    first, refused, last = (begin(tree, path, b"2", guard=guard(path)) for path in paths)
    assert (first()[1], last()[1]) == (False, False)
    with pytest.raises(PermissionError):
        refused()
    assert asked == paths
    assert read(tree, "/d/old") == b"1"


def test_a_condition_sees_what_was_put_before_it(tree: Share) -> None:
    """Two that each ask that the other's file is not there: one of them fails."""
    def absent(path: str) -> Callable[[TreeView], None]:
        def check(view: TreeView) -> None:
            if view.find(path) is not None:
                raise FileExistsError
        return check

    begin(tree, "/z", b"z")
    one = begin(tree, "/x", b"x", unseen=False, guard=absent("/y"))
    other = begin(tree, "/y", b"y", unseen=False, guard=absent("/x"))
    third = begin(tree, "/v", b"v", unseen=False, guard=absent("/z"))
    assert one()[1]
    for result in (other, third):
        with pytest.raises(FileExistsError):
            result()
    assert names(tree) == ["d", "old", "x", "z"]


def test_a_file_that_was_put_stays_whatever_comes_after(tree: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the descriptor of the body may fail, as it does on network file systems."""
    def fail(incoming: Incoming) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    result = begin(tree, "/big", LARGE, unseen=False)
    with monkeypatch.context() as failing:
        failing.setattr(Incoming, "release", fail)
        with pytest.raises(OSError):
            result()
    assert read(tree, "/big") == LARGE


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, os.strerror(errno.EIO))])
def test_a_file_stays_whose_commit_ends_in_an_error_of_the_system(
        tree: Share, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It may have been committed before."""
    begun = begin(tree, "/big", LARGE, unseen=False)
    write = tree.index.write

    def write_and_fail(change: Callable[[View], object]) -> None:
        write(change)
        raise error

    with monkeypatch.context() as failing:
        failing.setattr(tree.index, "write", write_and_fail)
        with pytest.raises(type(error)):
            begun()
    assert read(tree, "/big") == LARGE


def test_a_file_that_is_refused_leaves_nothing(tree: Share) -> None:
    def refuse(view: TreeView) -> None:
        raise NoSuchNodeError("refused", "/big")

    held = tree.space.used()
    with pytest.raises(NoSuchNodeError):
        begin(tree, "/big", LARGE, unseen=False, guard=refuse)()
    assert tree.space.used() <= held


def test_what_the_store_may_have_is_asked_for_first(
        make_share: MakeShare, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/d/there", b"there")
    share = make_share(inside)
    assert names(share) == ["d"]
    known, unknown = begin(share, "/x", b"x"), begin(share, "/d/there", b"y")
    assert known()[1]
    with pytest.raises(UnsettledError):
        unknown()
    assert read(share, "/d/there") == b"there"
    node, is_new = begin(share, "/d/there", b"y")()
    assert (is_new, node.size) == (False, 1)
    clock.advance(share.settings.freshness.revalidate_after + 1)
    with pytest.raises(UnsettledError):
        begin(share, "/d/there", b"z")()


class Names:
    """Paths and bodies that meet each other often."""

    paths = st.builds("{}/{}".format, st.sampled_from(["", "/d", "/d/e", "/old", "/no"]), st.sampled_from("abc"))
    puts = st.lists(st.tuples(paths, st.binary(max_size=40), st.booleans()), max_size=24)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puts=Names.puts)
def test_together_is_as_one_after_the_other(
        make_share: MakeShare, puts: list[tuple[str, bytes, bool]], request: pytest.FixtureRequest) -> None:
    number = request.node.stash.setdefault(RUNS, 0)
    request.node.stash[RUNS] = number + 1
    together, apart = (planted(make_share(MemoryStore(), state=f"{kind}{number}")) for kind in ("together", "apart"))
    asked = [begin(together, path, data, unseen=unseen) for path, data, unseen in puts]
    ours = [outcome(result) for result in asked]
    theirs = [outcome(begin(apart, path, data, unseen=unseen)) for path, data, unseen in puts]
    assert ours == theirs
    assert contents(together) == contents(apart)


RUNS = pytest.StashKey[int]()


def outcome(result: Result) -> tuple[str, bool] | type[Exception]:
    try:
        node, is_new = result()
    except TreeError as error:
        return type(error)
    return node.path, is_new


def contents(share: Share) -> dict[str, bytes | None]:
    root = share.find("/")
    assert root is not None
    return {node.path: None if node.is_folder else read(share, node.path) for node in share.walk(root)}
