"""After crashes and power loss: what comes back, what is told, and how quickly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from davfusion.cache.blocks import BLOCK
from davfusion.cache.contents import ORPHAN_AGE
from davfusion.cache.index import Durability
from davfusion.cache.recovery import Report, boot_id, note_clean_stop, recover, sweep_orphans
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.memory import MemoryStore
from tests.cache.conftest import MakeShare
from tests.cache.world import names, read, save, store_bytes, upload

PROCESS_SAFE = CacheSettings(durability=Durability.PROCESS_SAFE, small=0)
"""All contents are files."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def unsafe(make_share: MakeShare, inside: MemoryStore) -> Share:
    """A share that acknowledges before it flushes; nobody flushes by himself."""
    share = make_share(inside, PROCESS_SAFE)
    assert share.flusher is not None
    share.flusher.stop()
    recovered(share, boot="first")
    names(share)
    return share


def recovered(share: Share, *, boot: str) -> Report:
    directory = share.files.directory.parent
    return recover(share.index, share.files, directory, boot=boot)


def cache_file(share: Share, path: str) -> Path:
    record = share.index.view().nodes.resolve(path)
    assert record is not None
    content = share.index.view().contents.get(record.content or 0)
    assert content is not None and content.file is not None
    return share.files.path(content.file)


def damage(share: Share, path: str, kind: str) -> None:
    file = cache_file(share, path)
    data = file.read_bytes()
    damaged = {"zeros": bytes(len(data)), "short": data[:-1], "flipped": bytes([data[0] ^ 1]) + data[1:]}
    if kind == "gone":
        file.unlink()
    else:
        file.write_bytes(damaged[kind])


DAMAGE = ["zeros", "short", "flipped", "gone"]


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_new_file_that_power_loss_damaged_leaves_the_tree_and_is_kept_aside(
        unsafe: Share, state: Path, kind: str) -> None:
    save(unsafe, "/whole", b"whole")
    save(unsafe, "/torn", b"torn")
    damage(unsafe, "/torn", kind)
    report = recovered(unsafe, boot="second")
    assert report.after_power_loss
    assert report.damaged == ["/torn"]
    assert names(unsafe) == ["whole"]
    assert read(unsafe, "/whole") == b"whole"
    assert len(list((state / "damaged").iterdir())) == (0 if kind == "gone" else 1)
    assert unsafe.index.view().contents.unflushed() == []
    again = recovered(unsafe, boot="third")
    assert again.damaged == []


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_new_version_gives_way_to_the_one_in_the_store(unsafe: Share, kind: str) -> None:
    save(unsafe, "/f", b"first")
    upload(unsafe, "/f", confirmed=True)
    save(unsafe, "/f", b"second")
    damage(unsafe, "/f", kind)
    assert recovered(unsafe, boot="second").damaged == ["/f"]
    node = unsafe.find("/f")
    assert node is not None and not node.dirty
    assert read(unsafe, "/f") == b"first"


@pytest.mark.parametrize("way", ["save", "move"])
def test_a_damaged_new_version_gives_way_to_the_one_before_that_was_not_uploaded_yet(
        unsafe: Share, way: str) -> None:
    """Power loss may cost the last second, never more: not the version that was flushed long ago."""
    save(unsafe, "/f", b"first")
    assert unsafe.flusher is not None
    unsafe.flusher.flush()
    for data in (b"second", b"third"):
        if way == "save":
            save(unsafe, "/f", data)
        else:
            save(unsafe, "/f.tmp", data)
            unsafe.move("/f.tmp", "/f", overwrite=True)
    view = unsafe.index.view()
    assert view.contents.unreferenced(0, 10) == [], "nothing is thrown away yet"
    unsafe.space.evict(2**60)
    files = list(unsafe.files.files())
    assert len(files) == 3
    for file in files:
        if unsafe.files.path(file).read_bytes() != b"first":
            unsafe.files.path(file).write_bytes(b"")
    recovered(unsafe, boot="second")
    assert names(unsafe) == ["f"]
    assert read(unsafe, "/f") == b"first"
    node = unsafe.find("/f")
    assert node is not None and node.dirty


def test_what_was_flushed_is_thrown_away_as_usual(unsafe: Share) -> None:
    save(unsafe, "/f", b"first")
    save(unsafe, "/f", b"second")
    assert unsafe.index.view().contents.unreferenced(0, 10) == []
    assert unsafe.flusher is not None
    unsafe.flusher.flush()
    assert len(unsafe.index.view().contents.unreferenced(0, 10)) == 1


@pytest.mark.parametrize("begin", [lambda share: recovered(share, boot="first"),
                                   lambda share: (note_clean_stop(share.index), recovered(share, boot="second"))[1]],
                         ids=["same run of the machine", "clean stop"])
def test_without_power_loss_nothing_is_verified(unsafe: Share, begin: Callable[[Share], Report]) -> None:
    save(unsafe, "/f", b"data")
    before = cache_file(unsafe, "/f").stat()
    report = begin(unsafe)
    assert not report.after_power_loss and not report.damaged
    assert read(unsafe, "/f") == b"data"
    assert cache_file(unsafe, "/f").stat().st_mtime == before.st_mtime
    assert len(unsafe.index.view().contents.unflushed()) == 1


def test_a_clean_stop_holds_for_one_start_only(unsafe: Share) -> None:
    note_clean_stop(unsafe.index)
    assert not recovered(unsafe, boot="second").after_power_loss
    assert recovered(unsafe, boot="third").after_power_loss


def test_where_the_system_does_not_tell_every_start_counts_as_one_after_power_loss(unsafe: Share) -> None:
    recovered(unsafe, boot="")
    assert recovered(unsafe, boot="").after_power_loss
    note_clean_stop(unsafe.index)
    assert not recovered(unsafe, boot="").after_power_loss


def test_a_partial_content_is_fetched_again_after_power_loss(
        make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside)
    recovered(share, boot="first")
    data = os.urandom(20 * BLOCK)
    store_bytes(inside, "/film", data)
    node = share.find("/film")
    assert node is not None
    with share.open(node) as reader:
        reader.read(10)
    for file in share.files.files():
        share.files.path(file).write_bytes(bytes(20 * BLOCK))  # the map reached the disk, the blocks did not
    report = recovered(share, boot="second")
    assert report.refetched == 1 and not report.damaged
    assert list(share.files.files()) == []
    assert share.index.view().operations.cached_bytes() == 0
    assert read(share, "/film") == data


def test_missing_files_are_fetched_again_or_told(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, CacheSettings(small=0))
    recovered(share, boot="first")
    names(share)
    for name in ("stored", "unconfirmed", "new"):
        save(share, f"/{name}", name.encode())
    upload(share, "/stored", confirmed=True)
    upload(share, "/unconfirmed")
    for file in list(share.files.files()):
        share.files.path(file).unlink()
    report = recovered(share, boot="first")
    assert not report.after_power_loss, "seen all the same, by a sample"
    assert sorted(report.missing) == ["/new", "/unconfirmed"]
    assert report.refetched == 1
    assert read(share, "/stored") == b"stored"
    with pytest.raises(OSError):
        read(share, "/new")


def test_bodies_of_dead_processes_are_swept(make_share: MakeShare, inside: MemoryStore, state: Path) -> None:
    share = make_share(inside)
    program = ("import os, sys; from pathlib import Path; from davfusion.cache.contents import ContentFiles\n"
               "body = ContentFiles(Path(sys.argv[1]), flush=False, small=0).receive(9, admit=lambda size: None)\n"
               "body.write(b'part'); os.kill(os.getpid(), 9)")
    assert subprocess.run([sys.executable, "-c", program, str(state)]).returncode == -9
    assert share.files.received_bytes() == 9
    assert recovered(share, boot="first").swept == 1
    assert share.files.received_bytes() == 0


def test_only_old_files_that_no_row_names_are_orphans(share: Share, inside: MemoryStore) -> None:
    kept = save(share, "/kept", b"kept")
    orphan, young = share.files.new_name(), share.files.new_name()
    for file in (orphan, young):
        share.files.path(file).write_bytes(b"x")
    for file in share.files.files():
        if file != young:
            path = share.files.path(file)
            os.utime(path, (time.time(), time.time() - ORPHAN_AGE - 1))
    assert sweep_orphans(share.index, share.files) == 1
    assert not share.files.path(orphan).exists()
    assert share.files.path(young).exists()
    assert read(share, kept.path) == b"kept"


def test_the_system_names_its_run() -> None:
    assert boot_id() == boot_id()


def test_a_clean_start_is_quick_whatever_the_size(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, PROCESS_SAFE)
    recovered(share, boot="first")

    def fill(view):  # type: ignore[no-untyped-def]
        for number in range(20_000):
            content = view.contents.insert(size=0, used=1.0, file=f"{number:032x}")
            view.nodes.insert(folder=0, parent=1, name=str(number), content=content, modified=1.0, created=1.0)
    share.index.write(fill)
    began = time.monotonic()
    recovered(share, boot="first")
    assert time.monotonic() - began < 0.5


# -- the flusher --------------------------------------------------------------------------------


def test_what_is_acknowledged_is_flushed_soon_after(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(inside, PROCESS_SAFE)
    names(share)
    save(share, "/f", b"data")
    view = share.index.view()
    deadline = time.monotonic() + 10
    while view.contents.unflushed():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    save(share, "/g", b"data")
    share.flusher.stop()  # type: ignore[union-attr]
    assert view.contents.unflushed() == []
    share.flusher.stop()  # type: ignore[union-attr]


def test_a_power_safe_share_has_nothing_to_flush(share: Share) -> None:
    assert share.flusher is None
    save(share, "/f", b"data")
    assert share.index.view().contents.unflushed() == []


@pytest.mark.program("strace")
def test_power_safe_flushes_the_body_then_its_name_then_the_index(tmp_path: Path) -> None:
    program = ("import sys; from pathlib import Path; from davfusion.cache.share import Share\n"
               "from davfusion.store.memory import MemoryStore\n"
               "share = Share(Path(sys.argv[1]), MemoryStore())\n"
               "share.find('/x')\n"
               "body = share.receive(40000); body.write(bytes(40000)); share.put('/f', body)\n"
               "print('acknowledged', flush=True)\n"
               "share.close()")
    trace = tmp_path / "trace"
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,rename,write", "-o", str(trace),
                    sys.executable, "-c", program, str(state)], check=True, stdout=subprocess.PIPE, timeout=60)
    lines = trace.read_text().splitlines()

    def first(*words: str, after: int = -1) -> int:
        return next(number for number, line in enumerate(lines)
                    if number > after and all(word in line for word in words))

    body = first("fsync(", "/incoming/")
    renamed = first("rename(", "/incoming/", after=body)
    named = first("fsync(", "/contents/", after=renamed)
    index = first("sync(", "index.db-wal", after=named)
    assert index < first("write(", "acknowledged")
    assert first("fsync(", "/state>") < body
