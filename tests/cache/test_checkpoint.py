"""The log is carried over beside the commits, and begins anew."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from davfusion.cache.index import Durability
from davfusion.cache.index.checkpoint import ROOM, Checkpointer
from davfusion.cache.index.database import Database
from tests.cache.test_index import add, count

PAGE = 4096


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    opened: list[sqlite3.Connection] = []

    def make() -> sqlite3.Connection:
        connection = sqlite3.connect(tmp_path / "test.db", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


def fill(connection: sqlite3.Connection, pages: int) -> None:
    """Commit some pages of bytes, always in the same place."""
    connection.execute("CREATE TABLE IF NOT EXISTS filled (id INTEGER PRIMARY KEY, bytes BLOB)")
    connection.execute("INSERT OR REPLACE INTO filled VALUES (1, ?)", (os.urandom(pages * PAGE),))


class Disk:
    """Notes what is flushed, and in which thread."""

    def __init__(self, *, failing: bool = False) -> None:
        self.flushed: list[tuple[str, str]] = []
        self.begun = threading.Semaphore(0)
        self._failing = failing

    def flush(self) -> None:
        self._note("log")

    def flush_database(self) -> None:
        self._note("database")

    def check(self) -> None:
        """Nothing has failed that matters here."""

    def fail(self, error: sqlite3.Error) -> None:
        raise AssertionError(error)

    def _note(self, what: str) -> None:
        self.flushed.append((what, threading.current_thread().name))
        self.begun.release()
        if self._failing:
            raise sqlite3.OperationalError("the disk fails")


def in_log(connection: sqlite3.Connection) -> tuple[int, int]:
    """Pages in the log, and those of them that were carried over."""
    _, pages, carried = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return pages, carried


def test_after_some_commits_the_log_is_carried_over_by_another_thread(
        connect: Callable[[], sqlite3.Connection], tmp_path: Path) -> None:
    disk = Disk()
    checkpointer = Checkpointer(connect, disk, every=3)
    connection = connect()
    for _ in range(3):
        assert disk.flushed == []
        fill(connection, 10)
        checkpointer.committed(connection)
    assert disk.begun.acquire(timeout=10)
    checkpointer.close()
    assert disk.flushed == [("log", "checkpoints")]
    assert (tmp_path / "test.db").stat().st_size > 10 * PAGE


def test_a_log_that_has_become_long_begins_anew(connect: Callable[[], sqlite3.Connection], tmp_path: Path) -> None:
    """However many follow: whoever commits next carries over what has come in the meantime."""
    disk = Disk()
    checkpointer = Checkpointer(connect, disk, every=1, long=20)
    connection = connect()
    fill(connection, 30)
    checkpointer.committed(connection)  # begins the thread
    assert all(disk.begun.acquire(timeout=10) for _ in range(4))
    checkpointer.close()  # after what it has begun
    assert [what for what, _ in disk.flushed] == ["log", "database", "log", "database"], "so that the rest is little"
    fill(connection, 10)
    checkpointer.committed(connection)  # carries over the rest
    fill(connection, 1)
    assert in_log(connection)[0] < 20


def test_a_checkpoint_that_fails_harms_no_commit(
        connect: Callable[[], sqlite3.Connection], caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(failing=True)
    checkpointer = Checkpointer(connect, disk, every=1, long=1)
    connection = connect()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            fill(connection, 10)
            checkpointer.committed(connection)
            assert disk.begun.acquire(timeout=10)
        checkpointer.close()
    assert "log not flushed" in caplog.text
    assert in_log(connection)[0] > 10


class FailingConnection(sqlite3.Connection):
    """One whose checkpoints fail, as they do where the disk does."""

    code = sqlite3.SQLITE_IOERR_FSYNC

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if not statement.startswith("PRAGMA wal_checkpoint"):
            return super().execute(statement, *parameters)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = self.code
        raise error


def test_a_checkpoint_whose_flush_fails_ends_all_writing(tmp_path: Path) -> None:
    """The system tells of it once: the next one would take what is lost for carried over, and begin the log anew."""
    database = Database(tmp_path / "index.db", durability=Durability.PROCESS_SAFE)
    database.write(add("n"))
    failing = sqlite3.connect(tmp_path / "index.db", factory=FailingConnection)
    database._checkpointer.shorten(failing)
    with pytest.raises(sqlite3.OperationalError, match="repair"):
        database.write(add("n"))
    assert count(database, "n") == 1
    failing.close()
    database.close()


def test_a_checkpoint_that_finds_no_room_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "index.db")
    monkeypatch.setattr(FailingConnection, "code", sqlite3.SQLITE_FULL)
    failing = sqlite3.connect(tmp_path / "index.db", factory=FailingConnection)
    database._checkpointer.shorten(failing)
    assert database.write(add("n")) == 1
    assert database.log_size() > 0
    database.shorten_log()
    assert database.log_size() == 0
    failing.close()
    database.close()


def test_a_thread_that_cannot_open_the_database_is_begun_again(
        connect: Callable[[], sqlite3.Connection], tmp_path: Path) -> None:
    asked = threading.Semaphore(0)
    refusing = True

    def open_database() -> sqlite3.Connection:
        asked.release()
        if refusing:
            raise sqlite3.OperationalError("unable to open database file")
        return connect()

    disk = Disk()
    checkpointer = Checkpointer(open_database, disk, every=1)
    connection = connect()
    fill(connection, 10)
    checkpointer.committed(connection)
    assert asked.acquire(timeout=10)
    assert checkpointer._thread is not None
    checkpointer._thread.join(10)
    refusing = False
    checkpointer.committed(connection)
    assert disk.begun.acquire(timeout=10)
    checkpointer.close()
    assert (tmp_path / "test.db").stat().st_size > 10 * PAGE


class _Awaited(Checkpointer):
    """Tells when the thread is through with what it was told."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.over = threading.Event()
        self.over.set()

    def _begin(self) -> None:
        self.over.clear()
        super()._begin()

    def _carry_over_flushed(self, connection: sqlite3.Connection) -> int:
        try:
            return super()._carry_over_flushed(connection)
        finally:
            self.over.set()


@pytest.mark.parametrize("durability", list(Durability))
def test_many_commits_of_two_processes_leave_a_short_log(tmp_path: Path, durability: Durability) -> None:
    """Each has connections of its own, as processes have. Far more is written than the log may hold.

    Who writes waits for its thread, when that was told to begin: how late it comes is the system's affair.
    """
    path = tmp_path / "index.db"
    databases = [Database(path, durability=durability) for _ in range(2)]
    checkpointers = {database: _Awaited(database._connect, database._log, every=16, long=200)
                     for database in databases}
    for database in databases:
        database._checkpointer = checkpointers[database]
    body = os.urandom(20 * PAGE)

    def write(database: Database) -> None:
        for _ in range(400):
            database.write(lambda connection: (
                add("n")(connection), connection.execute("INSERT OR REPLACE INTO meta VALUES ('x', ?)", (body,))))
            assert checkpointers[database].over.wait(30)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, databases))
    assert count(databases[0], "n") == 800
    pages = (tmp_path / "index.db-wal").stat().st_size // PAGE
    assert pages < 4000, "16,800 were written"
    for database in databases:
        database.close()
    assert count(Database(path), "n") == 800


def test_a_log_that_begins_anew_keeps_its_room(tmp_path: Path) -> None:
    """To extend it again would cost twice as much as to write over it."""
    database = Database(tmp_path / "index.db", durability=Durability.PROCESS_SAFE)
    body = os.urandom(100 * PAGE)
    sizes = [0]
    for _ in range(200):
        database.write(lambda connection: connection.execute("INSERT OR REPLACE INTO meta VALUES ('x', ?)", (body,)))
        sizes.append(database.log_size())
    assert all(size >= min(before, ROOM) for before, size in pairwise(sizes))
    assert sizes[-1] < 100 * len(sizes) * PAGE / 2, "it began anew"
    database.close()


def test_a_closed_index_leaves_no_thread(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.db")
    database._checkpointer = Checkpointer(database._connect, database._log, every=1)
    database.write(add("n"))
    thread = database._checkpointer._thread
    assert thread is not None
    database.close()
    assert not thread.is_alive()


def test_a_log_is_cut_off_where_room_is_wanted(tmp_path: Path) -> None:
    database = Database(tmp_path / "index.db")
    for _ in range(20):
        database.write(lambda connection: connection.execute(
            "INSERT OR REPLACE INTO meta VALUES ('x', ?)", (os.urandom(100 * PAGE),)))
    before = database.log_size()
    assert before > 2000 * PAGE
    reader = database.reader()
    reader.execute("BEGIN")
    assert count(database, "n") == 0
    database.write(add("n"))
    database.shorten_log()  # it is read in
    assert database.log_size() >= before
    assert count(database, "n") == 0
    reader.execute("COMMIT")
    database.shorten_log()
    assert database.log_size() == 0
    assert count(database, "n") == 1
    assert database.write(add("n")) == 1
    database.close()
    database.shorten_log()


def test_a_commit_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has none to give now may have one later."""
    database = Database(tmp_path / "index.db")
    database._checkpointer = Checkpointer(database._connect, database._log, every=1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        assert database.write(add("n")) == 1
    assert database.write(add("n")) == 1
    assert count(database, "n") == 2
    assert database._checkpointer._thread is not None
    database.close()
