"""What is acknowledged is on stable storage, and who waits for the disk keeps nobody from the index."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.errors import CacheFullError
from davfusion.cache.index import Durability
from davfusion.cache.index.database import Database
from davfusion.cache.share import Share
from davfusion.store.memory import MemoryStore
from tests.cache.test_index import add, count
from tests.cache.world import read, save

Flush = Callable[[int], None]
OPEN = Path("/proc/self/fd")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "index.db")
    yield opened
    opened.close()


@pytest.fixture
def flush_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Flush], None]:
    return lambda flush: monkeypatch.setattr("davfusion.cache.index.log._flush", flush)


class SlowDisk:
    """Flushes that end when they are let go, one after the other."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def flush(self, descriptor: int) -> None:
        self.begun.release()
        assert self.let_go.acquire(timeout=10)
        os.fsync(descriptor)

    def wait(self) -> None:
        assert self.begun.acquire(timeout=10)


def test_while_one_waits_for_the_disk_others_commit(database: Database, flush_with: Callable[[Flush], None]) -> None:
    disk = SlowDisk()
    flush_with(disk.flush)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(database.write, add("first"))
        disk.wait()
        second = pool.submit(database.write, add("second"))
        disk.wait()
        assert (count(database, "first"), count(database, "second")) == (1, 1)
        assert not first.done() and not second.done()
        disk.let_go.release(2)
        assert (first.result(10), second.result(10)) == (1, 1)


def test_what_is_not_flushed_is_not_acknowledged_and_nothing_is_any_more(
        database: Database, flush_with: Callable[[Flush], None], monkeypatch: pytest.MonkeyPatch) -> None:
    database.write(add("n"))

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    flush_with(fail)
    with pytest.raises(sqlite3.OperationalError, match="repair") as failed:
        database.write(add("n"))
    assert failed.value.sqlite_errorcode == sqlite3.SQLITE_IOERR_FSYNC
    flush_with(os.fsync)  # the system tells of a failure once only
    there = count(database, "n")
    with pytest.raises(sqlite3.OperationalError, match="repair"):
        database.write(add("n"))
    assert count(database, "n") == there


@pytest.mark.parametrize("durability", list(Durability))
def test_a_log_that_was_not_flushed_stays(
        tmp_path: Path, flush_with: Callable[[Flush], None], durability: Durability) -> None:
    """What is in it may be nowhere else, and what was carried over may be lost."""
    database = Database(tmp_path / "index.db", durability=durability)
    database.write(add("n"))

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    flush_with(fail)
    with pytest.raises(sqlite3.OperationalError, match="repair"):
        database.write(add("n"))
        database.flush()
    flush_with(os.fsync)
    before = database.log_size()
    database.shorten_log()
    assert database.log_size() == before > 0
    database.close()


def test_a_content_stays_whose_row_may_be_on_the_disk(
        tmp_path: Path, flush_with: Callable[[Flush], None]) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "state").mkdir()
    share = Share(tmp_path / "state", MemoryStore())
    share.find("/f")
    flush_with(fail)
    body = bytes(100_000)
    with pytest.raises(sqlite3.OperationalError):
        save(share, "/f", body)
    assert read(share, "/f") == body
    share.close()


def test_what_failed_needs_no_flush(database: Database, flush_with: Callable[[Flush], None]) -> None:
    def refuse(_: sqlite3.Connection) -> None:
        raise CacheFullError("refused", "/")

    flush_with(lambda descriptor: pytest.fail("nothing was written"))
    with pytest.raises(CacheFullError):
        database.write(refuse)


def test_process_safe_is_flushed_when_asked_and_once(tmp_path: Path, flush_with: Callable[[Flush], None]) -> None:
    database = Database(tmp_path / "index.db", durability=Durability.PROCESS_SAFE)
    flushes: list[int] = []
    flush_with(flushes.append)
    database.write(add("n"))
    assert flushes == []
    database.flush()
    database.flush()
    assert len(flushes) == 1
    database.close()


def test_closing_does_not_hurt_a_flush_under_way(tmp_path: Path, flush_with: Callable[[Flush], None]) -> None:
    database = Database(tmp_path / "index.db")
    disk = SlowDisk()
    flush_with(disk.flush)
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(database.write, add("n"))
        disk.wait()
        database.close()
        disk.let_go.release()
        assert writing.result(10) == 1
    with pytest.raises(sqlite3.ProgrammingError):
        database.write(add("n"))


@pytest.mark.skipif(not OPEN.exists(), reason="this system does not tell what a process has open")
def test_the_database_is_flushed_without_being_opened(tmp_path: Path, flush_with: Callable[[Flush], None]) -> None:
    """To open and close it would drop the locks that SQLite has on it (POSIX)."""
    database = Database(tmp_path / "index.db")
    database.write(add("n"))
    flushed: list[Path] = []
    flush_with(lambda descriptor: flushed.append((OPEN / str(descriptor)).readlink()))
    open_before = _open_below(tmp_path)
    database._log.flush_database()
    assert flushed == [(tmp_path / "index.db").resolve()]
    assert _open_below(tmp_path) == open_before
    database.close()


def _open_below(folder: Path) -> dict[str, Path]:
    """The files of a folder that this process has open, by their descriptors; other tests' may go at any moment."""
    found: dict[str, Path] = {}
    for descriptor in OPEN.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[descriptor.name] = descriptor.readlink()
    return {name: target for name, target in found.items() if target.is_relative_to(folder.resolve())}


@pytest.mark.skipif(not OPEN.exists(), reason="this system does not tell what a process has open")
def test_a_database_that_cannot_be_flushed_ends_all_writing(
        database: Database, flush_with: Callable[[Flush], None]) -> None:
    database.write(add("n"))

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    flush_with(fail)
    with pytest.raises(sqlite3.OperationalError, match="repair"):
        database._log.flush_database()
    flush_with(os.fsync)
    with pytest.raises(sqlite3.OperationalError, match="repair"):
        database.write(add("n"))
    assert count(database, "n") == 1


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL])
def test_a_descriptor_that_was_closed_meanwhile_is_no_failing_disk(
        database: Database, flush_with: Callable[[Flush], None], number: int) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    flush_with(fail)
    database._log.flush_database()
    flush_with(os.fsync)
    assert database.write(add("n")) == 1


def test_where_the_system_does_not_tell_what_is_open_nothing_is_flushed(
        database: Database, flush_with: Callable[[Flush], None], monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path) -> None:
    monkeypatch.setattr("davfusion.cache.index.log._DESCRIPTORS", tmp_path / "no-proc")
    flush_with(lambda descriptor: pytest.fail("nothing is known to be open"))
    database._log.flush_database()
