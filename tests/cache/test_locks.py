"""Locks and dead properties: who may have which, where they go, and when they end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.errors import LockConflictError, NoParentError, NoSuchNodeError
from davfusion.cache.index import Index, LockRow, View
from davfusion.cache.node import Lock, PropertyChange
from davfusion.cache.share import Share
from davfusion.store.memory import MemoryStore
from tests.cache.world import Clock, names, read, save, upload

TREE = ("/a", "/a/b", "/a/b/c")


@pytest.fixture
def tree(share: Share) -> Share:
    share.make_folder("/a")
    share.make_folder("/a/b")
    save(share, "/a/b/c", b"x")
    return share


def lock(share: Share, path: str, *, exclusive: bool = True, infinite: bool = False, timeout: float = 100.0,
         principal: str = "me") -> Lock:
    return share.lock(path, exclusive=exclusive, infinite=infinite, owner=b"<o/>", principal=principal,
                      timeout=timeout)[0]


def on(share: Share, path: str) -> set[str]:
    return {each.token for each in share.locks_on(path)}


def test_a_lock_is_found_by_its_path_and_its_token(tree: Share, clock: Clock) -> None:
    made = lock(tree, "/a/b/c")
    assert made.path == "/a/b/c" and made.exclusive and not made.infinite
    assert (made.owner, made.principal, made.timeout) == (b"<o/>", "me", 100.0)
    assert made.expires == clock.now + 100
    assert tree.locks_on("/a/b/c") == [made]
    assert tree.lock_by_token(made.token) == made
    assert tree.has_locks()
    for path in ("/", "/a", "/a/b", "/a/b/d"):
        assert tree.locks_on(path) == []
    assert [tree.locks_under(path) for path in ("/", "/a", "/a/b")] == [[made]] * 3
    assert tree.locks_under("/a/b/c") == []


def test_an_infinite_lock_covers_what_is_below_mapped_or_not(tree: Share) -> None:
    token = lock(tree, "/a", infinite=True).token
    for path in (*TREE, "/a/none", "/a/b/none", "/a/none/none"):
        assert on(tree, path) == {token}
    assert on(tree, "/") == set() == on(tree, "/ab")
    assert [found.path for found in tree.locks_on("/a/b/c")] == ["/a"]


def test_a_lock_on_the_root_covers_everything(tree: Share) -> None:
    token = lock(tree, "/", infinite=True).token
    for path in ("/", *TREE, "/none"):
        assert on(tree, path) == {token}
    assert tree.locks_under("/") == []


CONFLICTS = [  # (first path, exclusive, infinite), (second path, exclusive, infinite), refused
    (("/a/b/c", True, False), ("/a/b/c", True, False), True),
    (("/a/b/c", True, False), ("/a/b/c", False, False), True),
    (("/a/b/c", False, False), ("/a/b/c", True, False), True),
    (("/a/b/c", False, False), ("/a/b/c", False, False), False),
    (("/a", True, True), ("/a/b/c", True, False), True),
    (("/a", True, True), ("/a/b/c", False, False), True),
    (("/a", False, True), ("/a/b/c", True, False), True),
    (("/a", False, True), ("/a/b/c", False, False), False),
    (("/a", True, False), ("/a/b/c", True, False), False),
    (("/a/b/c", True, False), ("/a", True, True), True),
    (("/a/b/c", False, False), ("/a", True, True), True),
    (("/a/b/c", True, False), ("/a", False, True), True),
    (("/a/b/c", False, False), ("/a", False, True), False),
    (("/a/b/c", True, False), ("/a", True, False), False),
    (("/a", True, True), ("/a/b/new", True, False), True),
]


@pytest.mark.parametrize(("first", "second", "refused"), CONFLICTS)
def test_conflicts(tree: Share, first: tuple[str, bool, bool], second: tuple[str, bool, bool], refused: bool) -> None:
    made = lock(tree, first[0], exclusive=first[1], infinite=first[2], principal="me")
    if not refused:
        lock(tree, second[0], exclusive=second[1], infinite=second[2], principal="you")
        return
    with pytest.raises(LockConflictError) as caught:
        lock(tree, second[0], exclusive=second[1], infinite=second[2], principal="me")
    assert caught.value.locks == [made]
    assert names(tree, "/a/b") == ["c"], "a refused lock makes no file"


def test_locking_nothing_makes_an_empty_file_in_the_same_step(tree: Share) -> None:
    made, created = tree.lock("/a/new", exclusive=True, infinite=False, owner=b"", principal="me", timeout=10)
    assert created is not None and created.size == 0 and created.path == "/a/new"
    assert tree.find("/a/new") == created
    assert read(tree, "/a/new") == b""
    assert on(tree, "/a/new") == {made.token}
    save(tree, "/a/new", b"now with bytes")
    assert on(tree, "/a/new") == {made.token}
    with pytest.raises(NoParentError):
        lock(tree, "/none/new")


def test_a_lock_ends_by_itself(tree: Share, clock: Clock) -> None:
    made = lock(tree, "/a/b/c", timeout=10)
    clock.advance(9)
    refreshed = tree.refresh_lock(made.token, 20)
    assert refreshed.expires == clock.now + 20 and refreshed.timeout == 20
    clock.advance(19.5)
    assert on(tree, "/a/b/c") == {made.token}
    clock.advance(1)
    assert on(tree, "/a/b/c") == set()
    assert tree.lock_by_token(made.token) is None
    assert not tree.has_locks()
    with pytest.raises(NoSuchNodeError):
        tree.refresh_lock(made.token, 20)
    lock(tree, "/a/b/c")


def test_unlocking_twice_is_fine(tree: Share) -> None:
    made = lock(tree, "/a/b/c")
    for _ in range(2):
        tree.unlock(made.token)
        assert on(tree, "/a/b/c") == set()
    with pytest.raises(NoSuchNodeError):
        tree.refresh_lock("opaquelocktoken:none", 20)


def test_a_lock_follows_the_rename_of_a_folder_above_only_if_it_stays_outside(tree: Share) -> None:
    """RFC 4918, 7.7: a lock does not move with the resource; neither those inside a moved folder."""
    inner, outer = lock(tree, "/a/b/c"), lock(tree, "/a")
    tree.move("/a/b", "/a/moved", overwrite=False)
    assert tree.lock_by_token(inner.token) is None
    assert on(tree, "/a/moved/c") == set()
    assert on(tree, "/a") == {outer.token}
    tree.move("/a", "/z", overwrite=False)
    assert tree.lock_by_token(outer.token) is None and not tree.has_locks()


def test_moving_into_a_locked_folder_gains_its_lock(tree: Share) -> None:
    token = lock(tree, "/a", infinite=True).token
    save(tree, "/out", b"x")
    tree.move("/out", "/a/in", overwrite=False)
    tree.copy("/a/in", "/copy", overwrite=False)
    assert on(tree, "/a/in") == {token}
    assert on(tree, "/copy") == set()


@pytest.mark.parametrize("synced", [False, True])
def test_a_lock_ends_with_a_delete(tree: Share, synced: bool) -> None:
    names(tree)
    if synced:
        upload(tree, "/a/b/c", confirmed=True)
    below, itself = lock(tree, "/a/b/c"), lock(tree, "/a/b")
    tree.delete("/a/b")
    for made in (below, itself):
        assert tree.lock_by_token(made.token) is None
    assert tree.locks_under("/") == []
    tree.make_folder("/a/b")
    save(tree, "/a/b/c", b"again")
    assert on(tree, "/a/b/c") == set() == on(tree, "/a/b")
    lock(tree, "/a/b", infinite=True)


def test_a_deleted_file_leaves_no_lock_behind_even_while_its_object_waits_for_removal(tree: Share) -> None:
    names(tree)
    upload(tree, "/a/b/c", confirmed=True)
    lock(tree, "/a/b/c")
    tree.delete("/a/b/c")
    assert not tree.has_locks()


def test_overwriting_by_a_move_ends_the_locks_of_what_was_there(tree: Share) -> None:
    save(tree, "/other", b"y")
    made = lock(tree, "/a/b/c")
    tree.move("/other", "/a/b/c", overwrite=True)
    assert on(tree, "/a/b/c") == set()
    assert tree.lock_by_token(made.token) is None


def test_locks_and_properties_survive_a_restart(tree: Share, tmp_path: Path, clock: Clock) -> None:
    made = lock(tree, "/a", infinite=True)
    tree.change_properties("/a/b/c", [PropertyChange("{n}p", b"<p/>")])
    again = Share(tmp_path / "state", MemoryStore(), index=Index(tmp_path / "state" / "index.db", clock=clock))
    assert again.lock_by_token(made.token) == made
    node = again.find("/a/b/c")
    assert node is not None and again.properties(node) == {"{n}p": b"<p/>"}
    again.close()


# -- properties ---------------------------------------------------------------------------------


def properties(share: Share, path: str) -> dict[str, bytes]:
    node = share.find(path)
    assert node is not None
    return share.properties(node)


def test_properties_are_set_and_removed_in_order_and_together(tree: Share) -> None:
    tree.change_properties("/a/b/c", [PropertyChange("{n}p", b"<p>1</p>"), PropertyChange("{n}q", b"<q/>"),
                                      PropertyChange("{n}p", b"<p>2</p>"), PropertyChange("{m}p", b"<other/>")])
    assert properties(tree, "/a/b/c") == {"{n}p": b"<p>2</p>", "{n}q": b"<q/>", "{m}p": b"<other/>"}
    tree.change_properties("/a/b/c", [PropertyChange("{n}q", None), PropertyChange("{n}none", None)])
    assert properties(tree, "/a/b/c") == {"{n}p": b"<p>2</p>", "{m}p": b"<other/>"}
    with pytest.raises(NoSuchNodeError):
        tree.change_properties("/none", [PropertyChange("{n}p", b"<p/>")])


def test_times_are_changed_with_them_and_the_entity_tag_is_not(tree: Share) -> None:
    before = tree.find("/a/b/c")
    after = tree.change_properties("/a/b/c", [], modified=1.5, created=0.5)
    assert before is not None and after.etag == before.etag
    assert (after.modified, after.created) == (1.5, 0.5)
    assert tree.find("/a/b/c") == after


def test_properties_follow_a_rename_go_along_with_a_copy_and_end_with_a_delete(tree: Share) -> None:
    for path in TREE:
        tree.change_properties(path, [PropertyChange("{n}p", path.encode())])
    tree.move("/a", "/z", overwrite=False)
    for path in TREE:
        assert properties(tree, path.replace("/a", "/z", 1)) == {"{n}p": path.encode()}
    tree.copy("/z", "/copy", overwrite=False)
    tree.change_properties("/copy/b", [PropertyChange("{n}p", b"<own/>")])
    assert properties(tree, "/copy/b/c") == {"{n}p": b"/a/b/c"}
    assert properties(tree, "/z/b") == {"{n}p": b"/a/b"}
    tree.delete("/z/b/c")
    save(tree, "/z/b/c", b"new")
    assert properties(tree, "/z/b/c") == {}
    save(tree, "/copy/b/c", b"new")
    assert properties(tree, "/copy/b/c") == {"{n}p": b"/a/b/c"}, "an overwritten file is the same resource"


def test_properties_of_children_come_in_one_answer(tree: Share) -> None:
    save(tree, "/a/none", b"x")
    tree.change_properties("/a/b", [PropertyChange("{n}p", b"1"), PropertyChange("{n}q", b"2")])
    tree.change_properties("/a/b/c", [PropertyChange("{n}p", b"3")])
    folder, child = tree.find("/a"), tree.find("/a/b")
    assert folder is not None and child is not None
    assert tree.properties_of_children(folder) == {child.id: {"{n}p": b"1", "{n}q": b"2"}}


def tokens_on(view: View, paths: Sequence[str]) -> list[list[str] | Exception]:
    return [[each.token for each in view.locks_on(path)] for path in paths]


def test_a_lock_whose_removal_is_rolled_back_counts_for_the_next_change_of_the_transaction(tree: Share) -> None:
    token = lock(tree, "/a/b/c").token

    def remove(view: View) -> None:
        view.locks.remove(token)
        assert not view.locks_on("/a/b/c")
        raise LookupError

    database = tree.index._database
    with ThreadPoolExecutor(1) as threads:
        with database._writing:
            removed = threads.submit(tree.index.write, remove)
            while not database._queue and not removed.done():
                time.sleep(0.001)
            seen = tree.index.together(tokens_on)("/a/b/c")
            assert len(database._queue) == 2, "one transaction"
        assert seen() == [token]
        with pytest.raises(LookupError):
            removed.result(10)


def test_a_lock_counts_for_the_next_change_of_its_transaction(tree: Share) -> None:
    def insert(view: View, tokens: Sequence[str]) -> list[Exception | None]:
        node = view.nodes.chain("/a/b/c")[-1].id
        return [view.locks.insert(LockRow(
            token, node, exclusive=True, infinite=False, owner=b"", principal="me", timeout=100.0,
            expires=view.now() + 100)) for token in tokens]

    look, make = tree.index.together(tokens_on), tree.index.together(insert)
    free, made, seen = look("/a/b/c"), make("token"), look("/a/b/c")
    assert (free(), made(), seen()) == ([], None, ["token"])
