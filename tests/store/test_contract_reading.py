"""The contract of reading, listing and metadata, over every backend and wrapper."""

import io
import threading
import time

import pytest

from davfusion.store.errors import ConflictError, InvalidPathError, NotFoundError, TransferInterruptedError
from davfusion.store.transfer import PIECE

DATA = bytes(range(256)) * 40


@pytest.mark.parametrize(("start", "stop"), [
    (0, None), (0, 0), (0, 1), (5, 5), (7, 3), (1, None), (100, 200), (len(DATA) - 1, None),
    (len(DATA) - 1, len(DATA)), (len(DATA), None), (len(DATA), len(DATA) + 5), (len(DATA) + 10, None),
    (len(DATA) + 10, len(DATA) + 20), (10, len(DATA) + 1000), (0, len(DATA))])
def test_a_range_is_what_a_slice_is(store, put, start, stop):
    put("/f", DATA)
    assert b"".join(store.read("/f", start, stop)) == DATA[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 0), (0, 10), (3, 10), (3, None)])
def test_ranges_of_an_empty_file_are_empty(store, put, start, stop):
    put("/empty", b"")
    assert b"".join(store.read("/empty", start, stop)) == b""
    assert store.get_metadata("/empty").bytes == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (0, -1)])
def test_a_negative_range_is_a_mistake_of_the_caller(store, put, start, stop):
    put("/f", DATA)
    with pytest.raises(ValueError):
        list(store.read("/f", start, stop))


def test_pieces_are_of_bounded_size(plain):
    data = bytes(5 * PIECE + 17)
    plain.store_fileobject(io.BytesIO(data), "/big")
    sizes = [len(piece) for piece in plain.read("/big")]
    assert sum(sizes) == len(data)
    assert max(sizes) <= 4 * PIECE
    assert plain.get_file("/big") == data


def test_two_reads_are_the_same_and_get_range_is_a_part(store, put):
    put("/f", DATA)
    assert store.get_file("/f") == store.get_file("/f") == DATA
    assert store.get_range("/f", 10, 20) == DATA[10:20]


def test_a_read_of_another_version_is_a_conflict(store, put):
    old = put("/f", b"old")
    new = put("/f", b"newer")
    assert old != new
    assert b"".join(store.read("/f", if_version=new)) == b"newer"
    for start, stop in ((0, None), (1, 2), (0, 0), (100, None)):
        with pytest.raises(ConflictError):
            list(store.read("/f", start, stop, if_version=old))


@pytest.mark.parametrize("path", ["/nothing", "/no/such", "/folder", "/file/below"])
def test_reading_what_is_no_file_is_not_found(store, put, path):
    put("/file", b"x")
    store.create_directory("/folder")
    for start, stop in ((0, None), (0, 0), (5, 9)):
        with pytest.raises(NotFoundError):
            list(store.read(path, start, stop))


def test_an_interrupt_ends_a_read(plain):
    plain.store_fileobject(io.BytesIO(bytes(8 * PIECE)), "/f")
    interrupt = threading.Event()
    stream = plain.read("/f", interrupt=interrupt)
    next(stream)
    interrupt.set()
    with pytest.raises(TransferInterruptedError):
        list(stream)
    with pytest.raises(TransferInterruptedError):
        list(plain.read("/f", interrupt=interrupt))


def test_a_read_can_be_closed_in_the_middle(store):
    store.store_fileobject(io.BytesIO(bytes(8 * PIECE)), "/f")
    stream = store.read("/f")
    next(stream)
    stream.close()
    assert store.get_metadata("/f").bytes == 8 * PIECE


def test_metadata_of_files_and_folders(store, put):
    version = put("/d/f", b"12345")
    found = store.get_metadata("/d/f")
    assert (found.path, found.is_dir, found.bytes, found.version) == ("/d/f", False, 5, version)
    assert abs(found.modified - time.time()) < 15
    folder = store.get_metadata("/d")
    assert (folder.path, folder.is_dir, folder.bytes, folder.version) == ("/d", True, 0, None)
    assert store.get_metadata("/").is_dir
    assert (store.is_dir("/d"), store.is_dir("/d/f"), store.get_bytes("/d/f")) == (True, False, 5)
    assert store.get_modified("/d/f") == found.modified
    if store.capabilities.folders:
        assert abs(folder.modified - time.time()) < 15


def test_what_never_was_or_was_deleted_is_not_found(store, put):
    put("/gone", b"x")
    put("/goner/f", b"x")
    store.delete("/gone", is_dir=False)
    store.delete("/goner", is_dir=True)
    for path in ("/never", "/never/below", "/gone", "/goner", "/goner/f"):
        for question in (store.get_metadata, store.is_dir, store.get_bytes, store.get_modified):
            with pytest.raises(NotFoundError):
                question(path)
        assert not store.exists(path)


@pytest.mark.parametrize("path", ["", "x", "//", "/a//b", "/a/", "/.", "/..", "/a/../b", "/a/./b", "/a\0b"])
def test_what_is_no_path_is_refused_everywhere(store, path):
    for question in (store.get_metadata, store.get_file, store.get_directory_listing, store.create_directory):
        with pytest.raises(InvalidPathError):
            question(path)
    with pytest.raises(InvalidPathError):
        store.store_fileobject(io.BytesIO(b""), path)
    with pytest.raises(InvalidPathError):
        store.delete(path, is_dir=False)


def test_a_listing_holds_the_children_with_their_metadata(store, put):
    put("/d/one", b"1")
    put("/d/two", b"22")
    put("/d/sub/deep/er", b"333")
    put("/dd", b"no child of d")
    store.create_directory("/d/empty")
    for _ in range(3):
        listed = store.get_bulk_metadata("/d")
        assert set(listed) == {"/d/one", "/d/two", "/d/sub", "/d/empty"}
        assert [listed[path].is_dir for path in ("/d/one", "/d/sub", "/d/empty")] == [False, True, True]
        assert set(store.get_directory_listing("/")) == {"/d", "/dd"}
    for path, entry in listed.items():
        told = store.get_metadata(path)
        assert (entry.path, entry.is_dir, entry.bytes, entry.version) == (
            told.path, told.is_dir, told.bytes, told.version)
        assert abs(entry.modified - told.modified) < 1.1
    assert store.get_directory_listing("/d/empty") == []


def test_a_recursive_listing_holds_all_descendants_once(store, put):
    for path in ("/d/a", "/d/b/c", "/d/b/d/e/f", "/d/b-c", "/d/b.c/x", "/other"):
        put(path, b"x")
    store.create_directory("/d/empty/er")
    found = [entry.path for page in store.list_pages("/d", recursive=True) for entry in page]
    assert sorted(found) == sorted([
        "/d/a", "/d/b", "/d/b/c", "/d/b/d", "/d/b/d/e", "/d/b/d/e/f", "/d/b-c", "/d/b.c", "/d/b.c/x",
        "/d/empty", "/d/empty/er"])
    everything = {entry.path for page in store.list_pages("/", recursive=True) for entry in page}
    assert everything == {*found, "/d", "/other"}


def test_a_listing_of_nothing_is_empty_or_not_found(store, put):
    put("/file", b"x")
    assert store.get_directory_listing("/") == ["/file"]
    for path in ("/never", "/file"):
        if not store.capabilities.folders:
            assert store.get_directory_listing(path) == []
            continue
        with pytest.raises(NotFoundError):
            store.get_directory_listing(path)


def test_names_that_begin_alike_are_told_apart(store, put):
    for path in ("/a", "/ab", "/abc/x", "/abcd/x"):
        put(path, b"x")
    assert store.get_directory_listing("/abc") == ["/abc/x"]
    assert not store.exists("/abc/x/y")
    with pytest.raises(NotFoundError):
        store.get_metadata("/abcde")


def test_space_adds_up(store):
    overall, used, free = store.get_overall_space(), store.get_used_space(), store.get_free_space()
    if overall is None:
        assert free is None
        return
    assert used is not None and free is not None
    assert abs(overall - used - free) < 64 * 1024 * 1024


def test_it_tells_who_it_is(store):
    assert store.get_name()
    assert isinstance(store.account_info(), str)
    assert "TESTSECRETKEY" not in store.account_info() + str(store.get_configuration()) + repr(vars(store))
    assert store.get_max_filesize() >= 5 * 10**12
