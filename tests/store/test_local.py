"""What only a LocalStore meets: other programs, links, odd names, disks that fill up or go away."""

import io
import logging
import os
import subprocess
import sys
import threading

import pytest

from davfusion.store import temporary
from davfusion.store.errors import (
    AlreadyExistsError,
    InvalidPathError,
    NotFoundError,
    OutOfSpaceError,
    PermissionDeniedError,
    StoreError,
    TemporaryError,
    TransferInterruptedError,
)
from davfusion.store.interface import IfAbsent, IfVersion
from davfusion.store.local import LocalStore
from davfusion.store.temporary import HIDDEN

LARGE = bytes(range(256)) * 4096 * 8


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def store(root):
    return LocalStore(root)


def put(store, path, data=b"x", **options):
    return store.store_fileobject(io.BytesIO(data), path, **options)


def temporaries(root):
    return [path for path in root.rglob("*") if path.name.startswith(HIDDEN)]


def test_other_programs_see_the_files_and_are_seen(store, root):
    put(store, "/d/mine", b"mine")
    assert (root / "d" / "mine").read_bytes() == b"mine"
    (root / "d" / "theirs").write_bytes(b"theirs")
    assert store.get_file("/d/theirs") == b"theirs"
    version = store.get_metadata("/d/theirs").version
    (root / "d" / "theirs").write_bytes(b"changed")
    assert store.get_metadata("/d/theirs").version != version


def test_nothing_temporary_is_shown_reachable_or_left(store, root):
    (root / f"{HIDDEN}crash").write_bytes(b"torn")
    (root / f"{HIDDEN}tree").mkdir()
    (root / f"{HIDDEN}tree" / "f").write_bytes(b"x")
    put(store, "/f")
    assert store.get_directory_listing("/") == ["/f"]
    assert [entry.path for page in store.list_pages("/", recursive=True) for entry in page] == ["/f"]
    for path in (f"/{HIDDEN}crash", f"/{HIDDEN}tree", f"/{HIDDEN}tree/f"):
        assert not store.exists(path)
        with pytest.raises(NotFoundError):
            store.get_file(path)
        with pytest.raises(InvalidPathError):
            put(store, path)
    assert len(temporaries(root)) == 2


def test_leftovers_of_a_crash_are_swept_when_old(store, root, monkeypatch):
    (root / f"{HIDDEN}crash").write_bytes(b"torn")
    (root / f"{HIDDEN}tree").mkdir()
    os.utime(root / f"{HIDDEN}crash", (0, 0))
    store.get_directory_listing("/")
    assert len(temporaries(root)) == 2
    monkeypatch.setattr(temporary, "SWEEP_AFTER", 0.0)
    store.get_directory_listing("/")
    assert temporaries(root) == []


def test_a_write_in_progress_shows_nothing_and_a_failed_one_leaves_nothing(store, root):
    put(store, "/f", b"old")
    interrupt = threading.Event()

    class Watching(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > len(LARGE) // 2:
                assert store.get_directory_listing("/") == ["/f"]
                assert store.get_file("/f") == b"old"
                interrupt.set()
            return super().read(size)

    with pytest.raises(TransferInterruptedError):
        store.store_fileobject(Watching(LARGE), "/f", interrupt=interrupt)
    assert temporaries(root) == []
    assert store.get_file("/f") == b"old"


def test_a_writer_killed_in_the_middle_leaves_the_old_file(store, root):
    put(store, "/f", b"old")
    code = ("import io, os, sys\nfrom davfusion.store.local import LocalStore\n"
            "class Dying(io.BytesIO):\n def read(self, size=-1):\n"
            "  if self.tell() > 3_000_000: os.kill(os.getpid(), 9)\n  return super().read(size)\n"
            "LocalStore(sys.argv[1]).store_fileobject(Dying(bytes(9_000_000)), '/f')")
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == -9
    assert len(temporaries(root)) == 1
    assert store.get_file("/f") == b"old"
    assert store.get_directory_listing("/") == ["/f"]
    store.delete_empty_directory("/d")
    store.delete("/f", is_dir=False)


def test_links_out_of_the_root_and_to_folders_are_not_there(store, root, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    put(store, "/d/f", b"inside")
    for name, target in (("out", tmp_path / "secret"), ("up", tmp_path / "outside"), ("loop", root),
                         ("self", root / "self"), ("dangling", root / "none"), ("folder", root / "d")):
        (root / name).symlink_to(target)
    (root / "file").symlink_to(root / "d" / "f")
    assert set(store.get_directory_listing("/")) == {"/d", "/file"}
    assert {entry.path for page in store.list_pages("/", recursive=True) for entry in page} == {
        "/d", "/d/f", "/file"}
    assert store.get_file("/file") == b"inside"
    for path in ("/out", "/up", "/loop", "/self", "/dangling", "/loop/d/f", "/folder/f", "/up/x"):
        assert not store.exists(path)
        with pytest.raises(NotFoundError):
            store.get_file(path)
    with pytest.raises(AlreadyExistsError):
        put(store, "/out", condition=IfAbsent())
    with pytest.raises(StoreError):
        put(store, "/up/new")
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_write_over_a_link_replaces_the_link(store, root):
    put(store, "/target", b"target")
    (root / "link").symlink_to(root / "target")
    version = store.get_metadata("/link").version
    put(store, "/link", b"new", condition=IfVersion(version))
    assert (store.get_file("/link"), store.get_file("/target")) == (b"new", b"target")
    (root / "link2").symlink_to("target")
    store.move("/link2", "/deep/moved")
    assert store.get_file("/deep/moved") == b"target"
    assert not (root / "link2").is_symlink()


def test_what_is_neither_file_nor_folder_is_not_there(store, root):
    os.mkfifo(root / "fifo")
    assert store.get_directory_listing("/") == []
    with pytest.raises(NotFoundError):
        store.get_file("/fifo")


def test_names_that_are_not_utf8_are_left_out(store, root, caplog):
    put(store, "/good")
    (root / os.fsdecode(b"b\xffad")).write_bytes(b"x")
    with caplog.at_level(logging.WARNING, logger="davfusion.store.local"):
        assert store.get_directory_listing("/") == ["/good"]
    assert "not UTF-8" in caplog.text


def test_a_folder_with_hidden_things_is_not_empty_to_a_careful_delete(store, root):
    store.create_directory("/d")
    (root / "d" / os.fsdecode(b"b\xffad")).write_bytes(b"x")
    with pytest.raises(StoreError):
        store.delete_empty_directory("/d")
    store.delete("/d", is_dir=True)
    assert not (root / "d").exists()


def test_a_root_that_is_away_is_a_temporary_error_for_everything(store, root):
    put(store, "/f")
    root.rename(root.with_name("away"))
    for operation in (
        lambda: store.get_metadata("/f"), lambda: store.get_file("/f"), lambda: store.exists("/f"),
        lambda: store.get_directory_listing("/"), lambda: put(store, "/f"), lambda: put(store, "/d/f"),
        lambda: store.create_directory("/d"), lambda: store.delete("/f", is_dir=False),
        lambda: store.delete("/", is_dir=True), lambda: store.delete_empty_directory("/d"),
        lambda: store.duplicate("/f", "/g"), lambda: store.move("/f", "/g"), store.get_free_space,
    ):
        with pytest.raises(TemporaryError, match="is the disk mounted"):
            operation()
    assert not root.exists()
    root.with_name("away").rename(root)
    assert store.get_file("/f") == b"x"


def test_a_file_where_the_root_should_be_is_a_temporary_error(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(TemporaryError):
        LocalStore(tmp_path / "file").get_directory_listing("/")


def test_a_copy_keeps_the_time_and_an_overwrite_keeps_the_rights(store, root):
    put(store, "/f", b"x", modified=1e9)
    (root / "f").chmod(0o640)
    put(store, "/f", b"y", modified=1e9)
    assert (root / "f").stat().st_mode & 0o777 == 0o640
    assert store.duplicate("/f", "/g").modified == 1e9
    assert (root / "new").exists() is False
    put(store, "/new")
    umask = os.umask(0)
    os.umask(umask)
    assert (root / "new").stat().st_mode & 0o777 == 0o666 & ~umask


def test_same_size_and_time_but_other_bytes_is_another_version(store):
    first = put(store, "/f", b"one", modified=1e9)
    second = put(store, "/f", b"two", modified=1e9)
    assert first.version != second.version


def test_a_file_that_changes_while_it_is_read_is_an_error(store, root):
    put(store, "/f", LARGE)
    stream = store.read("/f")
    next(stream)
    with (root / "f").open("r+b") as file:
        file.truncate(2_000_000)
    with pytest.raises(TemporaryError):
        list(stream)
    put(store, "/g", LARGE)
    stream = store.read("/g")
    next(stream)
    with (root / "g").open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(TemporaryError):
        list(stream)


def test_a_file_replaced_while_it_is_read_is_read_to_its_old_end(store):
    put(store, "/f", LARGE)
    stream = store.read("/f")
    first = next(stream)
    put(store, "/f", b"new")
    assert first + b"".join(stream) == LARGE


@pytest.mark.program("root")
def test_a_full_disk_and_a_disk_that_goes_away(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    store = LocalStore(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    try:
        put(store, "/old", b"old")
        for path in ("/old", "/new", "/deep/new"):
            with pytest.raises(OutOfSpaceError):
                put(store, path, LARGE)
        assert store.get_file("/old") == b"old"
        assert temporaries(disk) == []
        assert 0 < store.get_free_space() <= 4 * 2**20
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    with pytest.raises(TemporaryError, match="another disk"):
        store.get_directory_listing("/")
    with pytest.raises(TemporaryError, match="another disk"):
        put(store, "/new")
    assert list(disk.iterdir()) == []
    store.reconnect()
    assert store.get_directory_listing("/") == []


@pytest.mark.program("root")
def test_moves_cross_file_systems_inside_the_root(tmp_path):
    (tmp_path / "disk").mkdir()
    store = LocalStore(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path / "disk")], check=True)
    try:
        put(store, "/disk/d/sub/f", b"x", modified=1e9)
        store.create_directory("/disk/d/empty")
        put(store, "/target/old", b"old")
        store.move("/disk/d", "/target")
        assert store.get_metadata("/target/sub/f").modified == 1e9
        assert set(store.get_directory_listing("/target")) == {"/target/sub", "/target/empty"}
        assert not store.exists("/disk/d")
        store.move("/target/sub/f", "/disk/f")
        assert store.get_file("/disk/f") == b"x"
        assert temporaries(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.mark.program("root")
def test_a_disk_that_may_only_be_read(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    try:
        store = LocalStore(tmp_path)
        put(store, "/d/f")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        for operation in (lambda: put(store, "/d/f"), lambda: put(store, "/n/n"),
                          lambda: store.create_directory("/n"), lambda: store.delete("/d/f", is_dir=False),
                          lambda: store.delete("/d", is_dir=True), lambda: store.move("/d", "/e"),
                          lambda: store.duplicate("/d", "/e")):
            with pytest.raises(PermissionDeniedError):
                operation()
        assert store.get_file("/d/f") == b"x"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
