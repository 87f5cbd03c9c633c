"""What went wrong in an earlier design of packed files, before upload, after it, and recovered from the store alone.

There a file that was overwritten and deleted came back, copies took their siblings away, a listing downloaded
whole archives, and nothing could be rebuilt once the local state was gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from davfusion import state
from davfusion.recovering.recovery import recover
from davfusion.settings import ShareSettings
from davfusion.store.errors import TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked.collector import Thrift
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office
from tests.sync.chunked.watched import Counted

Later = Callable[[Office], Office]


@pytest.fixture(params=["before upload", "after upload", "recovered"])
def later(request: pytest.FixtureRequest, make_office: MakeOffice, tmp_path: Path) -> Later:
    """The same share at a later time; what was here of its contents is gone wherever the store has them."""
    def before(office: Office) -> Office:
        return office

    def after(office: Office) -> Office:
        office.engine.run_due()
        office.share.space.evict(10**12)
        return office

    def recovered(office: Office) -> Office:
        office.engine.run_due()
        office.close()
        directory = tmp_path / "recovered"
        state.prepare(directory)
        settings = ShareSettings(name="share", store="memory://", layout="chunked")
        assert recover(office.store, settings, directory, lambda *progress: None, clock=lambda: 1e6).is_whole
        (index,) = directory.rglob("index.db")
        then = make_office(office.store, state=str(index.parent))
        assert then.index.view().nodes.count_dirty() == (0, 0)
        return then
    return {"before upload": before, "after upload": after, "recovered": recovered}[request.param]


def tree(office: Office) -> dict[str, bytes | None]:
    """What clients see, every byte read."""
    root = office.share.find("/")
    assert root is not None
    return {node.path: None if node.is_folder else office.read(node.path) for node in office.share.walk(root)}


def test_a_file_that_is_overwritten_and_deleted_stays_away(office: Office, later: Later) -> None:
    office.save("/x", b"1")
    office.engine.run_due()
    office.save("/x", b"2")
    office.engine.run_due()
    office.share.delete("/x")
    assert tree(later(office)) == {}


def test_a_copied_file_and_its_siblings_are_readable(office: Office, later: Later) -> None:
    office.folder("/a")
    office.folder("/b")
    for name in "123":
        office.save(f"/a/{name}", name.encode() * 10)
    office.engine.run_due()
    office.share.copy("/a/1", "/b/copy", overwrite=False)
    found = tree(later(office))
    assert found == {"/a": None, "/a/1": b"1" * 10, "/a/2": b"2" * 10, "/a/3": b"3" * 10, "/b": None,
                     "/b/copy": b"1" * 10}


def test_a_copied_folder_is_whole_and_does_not_hang_on_the_first(office: Office, later: Later) -> None:
    office.folder("/a")
    office.folder("/a/deep")
    office.save("/a/deep/x", b"1")
    office.save("/a/y", b"2" * 1500)
    office.colour("/a/y", "<y/>")
    office.share.copy("/a", "/b", overwrite=False)
    office.engine.run_due()
    office.share.delete("/a")
    office.engine.tidy()
    then = later(office)
    assert tree(then) == {"/b": None, "/b/deep": None, "/b/deep/x": b"1", "/b/y": b"2" * 1500}
    node = then.share.find("/b/y")
    assert node is not None and then.share.properties(node) == {"{urn:x}colour": b"<y/>"}


def test_a_moved_file_has_one_name(office: Office, later: Later) -> None:
    office.folder("/d")
    office.save("/d/a", b"1")
    office.engine.run_due()
    office.share.move("/d/a", "/d/c", overwrite=False)
    assert tree(later(office)) == {"/d": None, "/d/c": b"1"}


def test_files_of_the_same_name_in_two_folders_are_two(office: Office, later: Later) -> None:
    for folder in ("/p", "/q"):
        office.folder(folder)
        office.save(f"{folder}/x.txt", folder.encode())
    office.share.delete("/q/x.txt")
    assert tree(later(office)) == {"/p": None, "/p/x.txt": b"/p", "/q": None}


def test_a_new_file_moved_over_one_in_the_store_replaces_it(office: Office, later: Later) -> None:
    office.save("/x", b"old")
    office.engine.run_due()
    office.save("/part", b"new")
    office.share.move("/part", "/x", overwrite=True)
    assert tree(later(office)) == {"/x": b"new"}


def test_times_survive(office: Office, later: Later) -> None:
    office.save("/x", b"1")
    office.share.change_properties("/x", [], modified=1234567890.25, created=1000.5)
    node = later(office).share.find("/x")
    assert node is not None and (node.modified, node.created) == (1234567890.25, 1000.5)


def test_empty_folders_and_files_survive(office: Office, later: Later) -> None:
    office.folder("/a")
    office.folder("/a/b")
    office.save("/a/empty", b"")
    assert tree(later(office)) == {"/a": None, "/a/b": None, "/a/empty": b""}


def test_a_file_deleted_at_any_point_of_its_upload_stays_away(make_office: MakeOffice, later: Later) -> None:
    for point in ("store_fileobject /archives", "get_metadata /archives", "store_fileobject /journal",
                  "get_metadata /journal"):
        offices: list[Office] = []

        def fault(call: Call, point: str = point, offices: list[Office] = offices) -> Fault | None:
            if offices and f"{call.verb} {call.path}".startswith(point):
                offices.pop().share.delete("/x")
            return None
        office = make_office(FaultyStore(MemoryStore(), fault), state=point.replace("/", "").replace(" ", ""))
        office.save("/x", b"1")
        office.engine._open()
        offices.append(office)
        office.engine.run_due()
        assert not offices and tree(office) == {}
        office.engine.run_due()
        assert office.recovered() == {}


def test_what_is_saved_during_an_upload_wins(make_office: MakeOffice, later: Later) -> None:
    offices: list[Office] = []

    def fault(call: Call) -> Fault | None:
        if offices and call.verb == "store_fileobject" and call.path.startswith("/archives"):
            offices.pop().save("/x", b"second")
        return None
    office = make_office(FaultyStore(MemoryStore(), fault))
    office.save("/x", b"first")
    office.engine._open()
    offices.append(office)
    office.engine.run_due()
    assert tree(later(office)) == {"/x": b"second"}


def test_what_is_deleted_leaves_the_store_and_what_lay_beside_it_stays(make_office: MakeOffice, later: Later) -> None:
    office = make_office(thrift=Thrift(grace=0.0, unfinished=0.0))
    data = os.urandom(800)
    for number in range(4):
        office.save(f"/{number}", data + b"%d" % number)
    office.save("/large", os.urandom(3000))
    office.engine.run_due()
    before = office.store.get_used_space() or 0
    for path in ("/0", "/1", "/2", "/large"):
        office.share.delete(path)
    for _ in range(4):
        office.engine.run_due()
        office.engine.tidy()
    assert (office.store.get_used_space() or 0) < before - 4500
    assert tree(later(office)) == {"/3": data + b"3"}


def test_the_sizes_that_are_set_are_those_that_are_used(office: Office, later: Later) -> None:
    for number in range(9):
        office.save(f"/{number}", os.urandom(900))
    office.save("/large", os.urandom(1000 * 3 + 1))
    then = later(office)
    then.engine.run_due()
    sizes = sorted(line.size for line in then.image().objects.values() if line.path.startswith("/archives"))
    assert len(sizes) == 3 and sizes[-1] < 6000
    assert len([path for path in then.image().objects if path.startswith("/blocks")]) == 4
    assert len(tree(then)) == 10


def test_a_listing_reads_nothing_from_the_store(make_office: MakeOffice, later: Later) -> None:
    store = Counted(MemoryStore())
    office = make_office(store)
    office.folder("/a")
    for number in range(20):
        office.save(f"/a/{number}", b"%d" % number)
    then = later(office)
    store.requests.clear()
    root = then.share.find("/")
    assert root is not None and len(list(then.share.walk(root))) == 21
    assert store.requests == []


def test_one_small_file_is_read_by_range_with_its_neighbours(make_office: MakeOffice, later: Later) -> None:
    store = Counted(MemoryStore())
    office = make_office(store)
    for number in range(4):
        office.save(f"/{number}", b"%d" % number * 100)
    then = later(office)
    store.requests.clear()
    for number in range(4):
        assert then.read(f"/{number}") == b"%d" % number * 100
    assert len(store.requests) <= 1


def test_a_store_that_is_down_keeps_nobody_from_reading_and_saving(make_office: MakeOffice, later: Later) -> None:
    down: list[bool] = []

    def fault(call: Call) -> Fault | None:
        return Fault(before=TemporaryError("down")) if down else None
    office = make_office(FaultyStore(MemoryStore(), fault))
    office.save("/x", b"1")
    office.engine.run_due()
    down.append(True)
    office.save("/y", b"2")
    office.share.move("/x", "/z", overwrite=False)
    for _ in range(3):
        with contextlib.suppress(TemporaryError):
            office.engine.run_due()
    assert tree(office) == {"/y": b"2", "/z": b"1"}
    down.clear()
    assert tree(later(office)) == {"/y": b"2", "/z": b"1"}
