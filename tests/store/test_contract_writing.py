"""The contract of writing, conditions and interruption, over every backend and wrapper."""

import contextlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    StoreError,
    TransferInterruptedError,
)
from davfusion.store.interface import IfAbsent, IfVersion
from davfusion.store.transfer import PIECE

LARGE = bytes(range(256)) * 4096 * 20


class InterruptingFile(io.BytesIO):
    """Sets an event once so many bytes were read."""

    def __init__(self, data, event, after):
        super().__init__(data)
        self.event, self.after = event, after

    def read(self, size=-1):
        piece = super().read(size)
        if self.tell() >= self.after:
            self.event.set()
        return piece


class FailingFile(io.BytesIO):
    def read(self, size=-1):
        if self.tell() >= 3 * PIECE:
            raise OSError(5, "Input/output error")
        return super().read(min(size, PIECE))


@pytest.mark.parametrize("data", [b"", b"x", bytes(PIECE), bytes(PIECE + 1)])
def test_what_is_stored_is_read(store, data):
    stored = store.store_fileobject(io.BytesIO(data), "/some/where/deep")
    assert (stored.path, stored.is_dir, stored.bytes) == ("/some/where/deep", False, len(data))
    assert store.get_metadata("/some/where/deep").version == stored.version
    assert store.get_file("/some/where/deep") == data
    assert store.is_dir("/some/where")


def test_a_large_file_comes_back(plain):
    stored = plain.store_fileobject(io.BytesIO(LARGE), "/large")
    assert plain.get_metadata("/large").version == stored.version
    assert plain.get_metadata("/large").bytes == len(LARGE)
    assert plain.get_file("/large") == LARGE
    assert plain.get_range("/large", 8 * 2**20 - 3, 8 * 2**20 + 3) == LARGE[8 * 2**20 - 3:8 * 2**20 + 3]
    again = plain.store_fileobject(io.BytesIO(LARGE[::-1]), "/large", condition=IfVersion(stored.version))
    assert plain.get_file("/large") == LARGE[::-1]
    with pytest.raises(AlreadyExistsError):
        plain.store_fileobject(io.BytesIO(LARGE), "/large", condition=IfAbsent())
    with pytest.raises(ConflictError):
        plain.store_fileobject(io.BytesIO(LARGE), "/large", condition=IfVersion(stored.version))
    assert plain.get_metadata("/large").version == again.version


def test_the_whole_file_is_stored_wherever_it_stands(store):
    file = io.BytesIO(b"0123456789")
    file.seek(7)
    store.store_fileobject(file, "/f")
    assert store.get_file("/f") == b"0123456789"


def test_a_local_file_is_stored_under_its_name(store, tmp_path):
    (tmp_path / "name.txt").write_bytes(b"content")
    store.store_file(tmp_path / "name.txt", "/d")
    store.store_file(tmp_path / "name.txt", remote_file_name="other")
    assert (store.get_file("/d/name.txt"), store.get_file("/other")) == (b"content", b"content")


def test_an_overwrite_replaces_content_and_version(store, put):
    versions = {put("/f", data) for data in (b"one", b"two", b"a longer one", b"")}
    assert len(versions) == 4
    assert store.get_file("/f") == b""


def test_the_time_is_kept_where_the_store_says_so(store):
    store.store_fileobject(io.BytesIO(b"x"), "/f", modified=1234567890.25)
    if store.capabilities.keeps_modified:
        assert store.get_metadata("/f").modified == pytest.approx(1234567890.25, abs=1e-6)
        assert store.get_bulk_metadata("/")["/f"].modified == pytest.approx(1234567890.25, abs=1e-6)


def test_if_absent(store):
    store.store_fileobject(io.BytesIO(b"first"), "/f", condition=IfAbsent())
    with pytest.raises(AlreadyExistsError):
        store.store_fileobject(io.BytesIO(b"second"), "/f", condition=IfAbsent())
    assert store.get_file("/f") == b"first"


def test_if_version(store, put):
    version = put("/f", b"first")
    new = store.store_fileobject(io.BytesIO(b"second"), "/f", condition=IfVersion(version))
    for stale in (version, "nonsense"):
        with pytest.raises(ConflictError):
            store.store_fileobject(io.BytesIO(b"third"), "/f", condition=IfVersion(stale))
    assert store.get_file("/f") == b"second"
    assert store.get_metadata("/f").version == new.version
    store.delete("/f", is_dir=False)
    with pytest.raises(ConflictError):
        store.store_fileobject(io.BytesIO(b"fourth"), "/f", condition=IfVersion(str(new.version)))
    assert not store.exists("/f")


def test_of_many_that_create_at_once_one_wins(plain, backend):
    def create(number):
        try:
            plain.store_fileobject(io.BytesIO(b"%d" % number), "/race", condition=IfAbsent())
        except AlreadyExistsError:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(create, range(16)) if number is not None]
    if backend != "rclone":  # its server decides nothing: who checks at the same moment wins too
        assert len(winners) == 1
        assert plain.get_file("/race") == b"%d" % winners[0]
    assert plain.get_file("/race") in [b"%d" % number for number in winners]


def test_of_many_that_replace_one_version_one_wins(plain, putter_of, backend):
    version = putter_of(plain)("/race", b"start")

    def replace(number):
        try:
            plain.store_fileobject(io.BytesIO(b"%d" % number), "/race", condition=IfVersion(version))
        except ConflictError:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(replace, range(16)) if number is not None]
    if backend != "rclone":
        assert len(winners) == 1
    assert plain.get_file("/race") in [b"%d" % number for number in winners]


@pytest.mark.parametrize("exists", [True, False])
def test_a_change_during_a_long_write_is_not_overwritten(plain, putter_of, exists):
    put = putter_of(plain)
    condition = IfVersion(put("/f", b"old")) if exists else IfAbsent()

    class Meanwhile(io.BytesIO):
        def read(self, size=-1):
            if self.tell() == 0:
                put("/f", b"theirs")
            return super().read(size)

    with pytest.raises(ConflictError if exists else AlreadyExistsError):
        plain.store_fileobject(Meanwhile(LARGE), "/f", condition=condition)
    assert plain.get_file("/f") == b"theirs"


@pytest.mark.parametrize("after", [0, PIECE, 10 * PIECE, len(LARGE)])
def test_an_interrupted_write_leaves_the_old_file(plain, putter_of, after):
    version = putter_of(plain)("/f", b"old")
    interrupt = threading.Event()
    with pytest.raises(TransferInterruptedError):
        plain.store_fileobject(InterruptingFile(LARGE, interrupt, after), "/f", interrupt=interrupt)
    with pytest.raises(TransferInterruptedError):
        plain.store_fileobject(io.BytesIO(b"x"), "/new", interrupt=interrupt)
    assert plain.get_metadata("/f").version == version
    assert plain.get_file("/f") == b"old"
    assert plain.get_directory_listing("/") == ["/f"]


class Turning(threading.Event):
    """Is set from when it was looked at so often."""

    def __init__(self, looks):
        super().__init__()
        self._looks = looks

    def is_set(self):
        self._looks -= 1
        return self._looks < 0


@pytest.mark.parametrize("looks", range(8))
def test_a_write_is_interrupted_before_the_store_has_all_of_it_or_not_at_all(plain, looks):
    try:
        plain.store_fileobject(io.BytesIO(bytes(40_000)), "/f", interrupt=Turning(looks))
    except TransferInterruptedError:
        assert not plain.exists("/f")
    else:
        assert plain.get_file("/f") == bytes(40_000)


@pytest.mark.parametrize("size", [5 * PIECE, len(LARGE)])
def test_a_source_that_fails_leaves_the_old_file(plain, putter_of, size):
    putter_of(plain)("/f", b"old")
    with pytest.raises((OSError, StoreError)):
        plain.store_fileobject(FailingFile(bytes(size)), "/f")
    with pytest.raises((OSError, StoreError)):
        plain.store_fileobject(FailingFile(bytes(size)), "/new")
    assert plain.get_file("/f") == b"old"
    assert plain.get_directory_listing("/") == ["/f"]


def test_folders_are_created_once(store, put):
    for path in ("/dir", "/Mixed Case", "/deep/er"):
        store.create_directory(path)
        assert store.is_dir(path)
        with pytest.raises(AlreadyExistsError):
            store.create_directory(path)
    put("/file", b"x")
    for path in ("/file", "/"):
        with pytest.raises(AlreadyExistsError):
            store.create_directory(path)
    if store.capabilities.case_sensitive:
        store.create_directory("/DIR")
        assert {"/dir", "/DIR"} <= set(store.get_directory_listing("/"))


def test_a_folder_stays_when_its_files_go_where_folders_exist(store, put):
    store.create_directory("/d")
    put("/d/f", b"x")
    store.delete("/d/f", is_dir=False)
    assert store.is_dir("/d")
    assert store.get_directory_listing("/d") == []


def test_a_folder_that_is_kept_stays_when_its_files_go(store, put):
    put("/d/e/f", b"x")
    put("/file", b"x")
    for path in ("/d/e", "/new"):
        store.keep_directory(path)
        store.keep_directory(path)
    store.delete("/d/e/f", is_dir=False)
    assert store.is_dir("/d/e")
    assert store.is_dir("/new")
    assert store.get_directory_listing("/d/e") == []
    with pytest.raises(AlreadyExistsError):
        store.keep_directory("/file")
    assert store.get_file("/file") == b"x"


def test_delete_takes_files_and_whole_folders(store, put):
    for path in ("/d/a", "/d/b/c/d", "/keep", "/dd/keep"):
        put(path, b"x")
    store.create_directory("/d/empty")
    store.delete("/d", is_dir=True)
    store.delete("/keep2", is_dir=False)
    assert not store.exists("/d")
    assert not store.exists("/d/b/c/d")
    assert set(store.get_directory_listing("/")) == {"/keep", "/dd"}


def test_delete_of_nothing_or_of_the_other_kind_changes_nothing(store, put, backend):
    put("/file", b"x")
    put("/folder/file", b"x")
    for path, is_dir in (("/never", False), ("/never", True), ("/no/where", False), ("/file", True),
                         ("/folder", False), ("/file/below", True)):
        store.delete(path, is_dir=is_dir)
    if backend != "rclone":  # its server deletes /file for this
        store.delete("/file/below", is_dir=False)
    assert store.get_file("/file") == store.get_file("/folder/file") == b"x"


def test_delete_of_the_root_empties_it(store, put):
    put("/a/b", b"x")
    put("/c", b"x")
    store.delete("/", is_dir=True)
    assert store.get_directory_listing("/") == []
    assert store.is_dir("/")


def test_delete_of_another_version_is_a_conflict(store, put):
    old = put("/f", b"old")
    new = put("/f", b"new")
    with pytest.raises(ConflictError):
        store.delete("/f", is_dir=False, if_version=old)
    assert store.get_file("/f") == b"new"
    store.delete("/f", is_dir=False, if_version=new)
    assert not store.exists("/f")
    store.delete("/f", is_dir=False, if_version=new)


def test_only_an_empty_folder_is_deleted_as_empty(store, put):
    put("/full/f", b"x")
    store.create_directory("/parent/empty")
    with pytest.raises(ConflictError):
        store.delete_empty_directory("/full")
    with pytest.raises(ConflictError):
        store.delete_empty_directory("/parent")
    store.delete_empty_directory("/parent/empty")
    store.delete_empty_directory("/never")
    assert not store.exists("/parent/empty")
    assert store.get_file("/full/f") == b"x"


def test_a_folder_that_nothing_keeps_any_more_goes_when_it_is_empty(store, put):
    store.keep_directory("/empty")
    store.unkeep_directory("/empty")
    store.unkeep_directory("/never")
    assert not store.exists("/empty")
    store.keep_directory("/full")
    put("/full/f", b"x")
    with contextlib.nullcontext() if not store.capabilities.folders else pytest.raises(ConflictError):
        store.unkeep_directory("/full")
    assert store.get_directory_listing("/full") == ["/full/f"]
    store.delete("/full/f", is_dir=False)
    assert store.exists("/full") is store.capabilities.folders


def test_a_file_below_a_file_or_over_a_folder_is_refused_where_folders_exist(store, put):
    if not store.capabilities.folders:
        return
    put("/file", b"x")
    put("/folder/f", b"x")
    for path, condition in (("/file/below", None), ("/file/below/deep", IfAbsent()), ("/folder", None),
                            ("/folder", IfAbsent()), ("/", None)):
        with pytest.raises(StoreError) as caught:
            store.store_fileobject(io.BytesIO(b"y"), path, condition=condition)
        assert not caught.value.retryable
        assert not isinstance(caught.value, NotFoundError)
    assert store.get_file("/file") == store.get_file("/folder/f") == b"x"
