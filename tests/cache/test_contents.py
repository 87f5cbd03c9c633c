"""Bodies on their way in, cache files, and the disk that is full."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from davfusion.cache.contents import ORPHAN_AGE, SMALL, ContentFiles
from davfusion.cache.errors import CacheFullError, NoParentError, WrongKindError
from davfusion.cache.index import Durability, Index
from davfusion.cache.node import Node
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.store.errors import TooLargeError
from davfusion.store.memory import MemoryStore
from tests.cache.conftest import MakeShare
from tests.cache.world import Clock, names, read, save, store_bytes


def anything(_unannounced: int) -> None:
    return


@pytest.fixture(params=[True, False], ids=["flushed", "unflushed"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> ContentFiles:
    return ContentFiles(tmp_path, flush=request.param, small=0)


def everything(state: Path) -> list[str]:
    """The files of a state directory, without the index."""
    return sorted(str(path.relative_to(state)) for path in state.rglob("*")
                  if path.is_file() and not path.name.startswith(("index.db", "fetching", "flushing")))


def test_a_body_is_what_was_written_and_invisible_before(files: ContentFiles, tmp_path: Path) -> None:
    with files.receive(None, admit=anything) as incoming:
        for piece in (b"abc", bytearray(b"def"), memoryview(b"ghi")):
            assert incoming.write(piece) == 3
        assert list(files.files()) == []
        file = files.publish(incoming)
    assert list(files.files()) == [file]
    assert files.path(file).read_bytes() == b"abcdefghi"
    assert everything(tmp_path) == [f"contents/{file[:2]}/{file}"]


@pytest.mark.parametrize("leave", ["context", "discard", "forgotten"])
def test_a_body_that_is_given_up_leaves_nothing(files: ContentFiles, tmp_path: Path, leave: str) -> None:
    incoming = files.receive(1000, admit=anything)
    incoming.write(b"part")
    assert files.received_bytes() == 1000
    assert files.awaited_bytes() <= 1000
    if leave == "context":
        with pytest.raises(ValueError, match="aborted"), incoming:
            raise ValueError("aborted")
    elif leave == "discard":
        incoming.discard()
        incoming.discard()
    else:
        del incoming
    assert everything(tmp_path) == []
    assert files.received_bytes() == 0


def test_an_announced_body_reserves_its_room_at_once(files: ContentFiles) -> None:
    with files.receive(10_000_000, admit=anything) as incoming:
        assert files.received_bytes() == 10_000_000
        assert files.awaited_bytes() == 10_000_000
        incoming.write(b"x" * 4096)
        file = files.publish(incoming)
    assert files.path(file).stat().st_size == 4096
    assert files.received_bytes() == 0


_RECEIVER = """
import sys
from pathlib import Path
from davfusion.cache.contents import ContentFiles
incoming = ContentFiles(Path(sys.argv[1]), flush=False, small=0).receive(5, admit=lambda size: None)
incoming.write(b"part")
print("in", flush=True)
sys.stdin.read()
"""


def test_only_bodies_of_dead_processes_are_swept(files: ContentFiles, tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", _RECEIVER, str(tmp_path)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == b"in\n"
        with files.receive(None, admit=anything) as own:
            own.write(b"mine")
            assert files.sweep_incoming() == 0
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait(10)
            assert files.sweep_incoming() == 1
            assert len(everything(tmp_path)) == 2
            assert own.path.read_bytes() == b"mine"
            file = files.publish(own)
        assert files.path(file).read_bytes() == b"mine"
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert files.sweep_incoming() == 1
    assert everything(tmp_path) == [f"contents/{file[:2]}/{file}"]


_RACE = """
import sys
from pathlib import Path
from davfusion.cache.contents import ContentFiles
files = ContentFiles(Path(sys.argv[1]), flush=False, small=0)
print("ready", flush=True)
for number in range(1500):
    with files.receive(None, admit=lambda size: None) as incoming:
        incoming.write(b"whole")
        file = files.publish(incoming)
    assert files.path(file).read_bytes() == b"whole"
"""


def test_a_sweep_never_takes_a_body_that_is_just_beginning(tmp_path: Path) -> None:
    files = ContentFiles(tmp_path, flush=False)
    process = subprocess.Popen([sys.executable, "-c", _RACE, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    try:
        while process.poll() is None:
            files.sweep_incoming()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert len(list(files.files())) == 1500


def test_an_orphan_is_old(files: ContentFiles) -> None:
    with files.receive(None, admit=anything) as incoming:
        incoming.write(b"x")
        file = files.publish(incoming)
    assert not files.is_orphan_age(file)
    status = files.path(file).stat()
    os.utime(files.path(file), (status.st_atime, status.st_mtime - ORPHAN_AGE - 1))
    assert files.is_orphan_age(file)
    assert not files.is_orphan_age("ff" * 16), "one that is gone is no orphan"


# -- through a share ----------------------------------------------------------------------------


@pytest.fixture(params=itertools.product(Durability, (SMALL, 0)), ids=str)
def any_share(request: pytest.FixtureRequest, make_share: MakeShare, inside: MemoryStore) -> Share:
    durability, small = request.param
    share = make_share(inside, CacheSettings(durability=durability, small=small))
    names(share)
    return share


def test_saving_over_a_file_leaves_readers_of_the_old_one_alone(any_share: Share) -> None:
    before = save(any_share, "/f", b"old")
    with any_share.open(before) as reader:
        after = save(any_share, "/f", b"newer")
        assert reader.read() == b"old"
    assert (after.id, after.size, after.created) == (before.id, 5, before.created)
    assert after.etag != before.etag
    assert read(any_share, "/f") == b"newer"


def test_times_and_types_are_kept(any_share: Share) -> None:
    node = save(any_share, "/f", b"x", modified=123.5, media_type="text/x-own")
    assert (node.modified, node.media_type) == (123.5, "text/x-own")
    assert any_share.find("/f") == node
    again = save(any_share, "/f", b"x")
    assert again.modified == any_share.index.now() and again.media_type is None


@pytest.mark.parametrize(("path", "error"), [("/none/f", NoParentError), ("/file/f", NoParentError),
                                             ("/folder", WrongKindError)])
def test_a_refused_save_leaves_nothing(any_share: Share, path: str, error: type[Exception]) -> None:
    any_share.make_folder("/folder")
    save(any_share, "/file", b"x")
    before = list(any_share.files.files())
    with pytest.raises(error):
        save(any_share, path, b"data")
    assert list(any_share.files.files()) == before
    assert any_share.files.received_bytes() == 0


def test_a_guard_that_refuses_changes_nothing(any_share: Share) -> None:
    node = save(any_share, "/f", b"old")

    def guard(view: object) -> None:
        raise PermissionError("not you")

    with pytest.raises(PermissionError):
        save(any_share, "/f", b"new", guard=guard)
    for change in (lambda: any_share.delete("/f", guard=guard),
                   lambda: any_share.move("/f", "/g", overwrite=True, guard=guard),
                   lambda: any_share.copy("/f", "/g", overwrite=True, guard=guard),
                   lambda: any_share.make_folder("/g", guard=guard)):
        with pytest.raises(PermissionError):
            change()
    assert any_share.find("/f") == node
    assert names(any_share) == ["f"]
    assert len(list(any_share.files.files())) == (0 if any_share.settings.small else 1)


def test_a_file_that_the_store_cannot_take_is_refused_before_its_body(make_share: MakeShare) -> None:
    class Small(MemoryStore):
        def get_max_filesize(self) -> int:
            return 10

    share = make_share(Small())
    with pytest.raises(TooLargeError):
        share.receive(11)
    share.receive(10).discard()


_FULL = """
import resource, signal, sys
from pathlib import Path
from davfusion.cache.errors import CacheFullError
from davfusion.cache.share import Share
from davfusion.store.memory import MemoryStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
share = Share(Path(sys.argv[1]), MemoryStore())
share.find("/none")
announced = sys.argv[2] == "announced"
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
try:
    with share.receive(5_000_000 if announced else None) as incoming:
        for _ in range(50):
            incoming.write(b"x" * 100_000)
        share.put("/f", incoming)
except CacheFullError as error:
    print("full", share.find("/f"), share.files.received_bytes(), list(share.files.files()))
with share.receive(3) as incoming:
    incoming.write(b"abc")
    share.put("/small", incoming)
print(share.find("/small").size)
share.close()
"""


@pytest.mark.parametrize("way", ["announced", "unannounced"])
def test_a_file_that_the_system_does_not_take_is_told_as_full(tmp_path: Path, way: str) -> None:
    run = subprocess.run([sys.executable, "-c", _FULL, str(tmp_path), way], capture_output=True, text=True,
                         timeout=60)
    assert run.stdout == "full None 0 []\n3\n", run


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    folder = tmp_path / "disk"
    folder.mkdir()
    run = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if run.returncode:
        pytest.skip("this machine lets nobody mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.program("root")
@pytest.mark.program("mount")
def test_a_disk_that_fills_up_costs_only_what_did_not_fit(small_disk: Path, inside: MemoryStore) -> None:
    share = Share(small_disk, inside, settings=CacheSettings(limits=SpaceLimits(min_free=0)))
    names(share)
    saved: list[Node] = []
    with pytest.raises(CacheFullError):
        for number in range(50):
            saved.append(save(share, f"/{number}", bytes([number]) * 700_000))
    assert len(saved) >= 5
    with pytest.raises(CacheFullError):
        incoming = share.receive(None)
        with incoming:
            for _ in range(100):
                incoming.write(b"x" * 100_000)
            share.put("/unannounced", incoming)
    assert names(share) == sorted(node.name for node in saved)
    for number, node in enumerate(saved):
        assert read(share, node.path) == bytes([number]) * 700_000
    assert share.files.received_bytes() == 0
    assert len(list(share.files.files())) == len(saved)
    share.close()


@pytest.mark.program("root")
@pytest.mark.program("mount")
def test_reading_goes_on_when_the_disk_is_full(small_disk: Path, inside: MemoryStore, clock: Clock) -> None:
    store_bytes(inside, "/folder/far", b"f" * 3_000_000)
    share = Share(small_disk, inside, settings=CacheSettings(limits=SpaceLimits(min_free=0)),
                  index=Index(small_disk / "index.db", clock=clock))
    assert names(share, "/folder") == ["far"]
    save(share, "/near", b"n" * 100_000)
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
        while True:
            ballast.write(b"x" * 4096)
    store_bytes(inside, "/folder/new", b"x")
    clock.advance(1000)
    share.accesses.flush_every = 0.0
    for _ in range(3):
        assert names(share) == ["folder", "near"]
        assert read(share, "/near") == b"n" * 100_000
        assert "far" in names(share, "/folder")
        with pytest.raises(CacheFullError):
            save(share, "/more", b"x" * 100_000)
    (small_disk / "ballast").unlink()
    assert save(share, "/more", b"x" * 100_000).size == 100_000
    clock.advance(1000)
    assert names(share, "/folder") == ["far", "new"]
    share.close()


_PASSING = """
import resource, signal, sys
from pathlib import Path
from davfusion.cache.share import Share
from davfusion.store.local import LocalStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
share = Share(Path(sys.argv[1]), LocalStore(Path(sys.argv[2])))
node = share.find("/f")
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
with share.open(node) as reader:
    data = b"".join(iter(lambda: reader.read(300_000), b""))
print(data == (Path(sys.argv[2]) / "f").read_bytes())
share.close()
"""


def test_what_the_disk_does_not_take_passes_through(tmp_path: Path) -> None:
    for name in ("state", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "store" / "f").write_bytes(os.urandom(20_000_000))
    run = subprocess.run([sys.executable, "-c", _PASSING, str(tmp_path / "state"), str(tmp_path / "store")],
                         capture_output=True, text=True, timeout=60)
    assert run.stdout == "True\n", run


def test_files_are_flushed_each_and_their_folders_once(files: ContentFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for number in range(6):
        name = f"{number % 2:02x}" + f"{number:030x}"
        files.path(name).parent.mkdir(exist_ok=True)
        files.path(name).write_bytes(b"x")
        names.append(name)
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert files.flush_files([*names, "ff" * 16]) == names, "one that is gone is no error"
    assert flushed[:6] == [str(files.path(name)) for name in names], "the bytes before the names"
    assert sorted(flushed[6:]) == sorted({str(files.path(name).parent) for name in names})
