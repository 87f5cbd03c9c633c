"""Checkpoints: carrying SQLite's log over into the database, beside the commits.

SQLite would do so in the commit that makes the log long, and flush the disk twice meanwhile: 25 ms in which no process
can commit. Here a thread does it while others commit. The log begins anew only when all of it was carried over, which
is never so while others add to it; so when it has become long, a commit carries over what has come since: a little.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("davfusion.cache.index")

EVERY = 128
"""Commits of one process after which its thread carries the log over."""
LONG = 4000
"""Pages in the log (of 4 KiB, so 16 MB) from which it is to begin anew."""
TOO_LONG = 2 * LONG
"""Pages in the log from which SQLite carries it over itself: where few commits write very much."""
ROOM = TOO_LONG * (4096 + 24)
"""Bytes that the file of the log keeps when it begins anew: to extend it costs twice what it costs to write over it."""


class Flushed(Protocol):
    """What is put on stable storage apart from the commits. A flush that fails is final: all raise sqlite3.Error then.

    The system tells of a failure once, and forgets what it lost. A log that began anew after it would take along what
    is nowhere else.
    """

    def flush(self) -> None:
        """Put the log on stable storage."""

    def flush_database(self) -> None:
        """Put on stable storage what was carried over from it."""

    def check(self) -> None:
        """Raise if a flush has failed."""

    def fail(self, error: sqlite3.Error) -> None:
        """A flush of SQLite's own has failed."""


class Checkpointer:
    """The thread of one process that carries the log of one database over. It begins when there is something to do."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], log: Flushed, *,
                 every: int = EVERY, long: int = LONG) -> None:
        """`connect` opens the database, for the thread."""
        self._connect = connect
        self._log = log
        self._every = every
        self._long = long
        self._commits = 0
        """Since the thread was told to begin."""
        self._is_long = False
        self._wanted = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def committed(self, connection: sqlite3.Connection) -> None:
        """A connection has committed. To be called while no other can; carries the log over where a rest is left.

        Raises nothing: what was committed is none the worse for a log that only grows.
        """
        self._commits += 1
        if self._is_long:
            self._is_long = False
            self._carry_over(connection)
        elif self._commits >= self._every:
            self._commits = 0
            self._begin()

    def shorten(self, connection: sqlite3.Connection) -> None:
        """Carry all of the log over and cut it off, unless somebody reads in it. To be called as `committed`."""
        self._carry_over(connection, "TRUNCATE")

    def close(self) -> None:
        """End the thread, after what it is about to do; `committed` must not be called any more."""
        self._stopping = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        self._wanted.set()
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread to give at the moment
            log.error("log not carried over", extra={"error": str(error)})
            return
        self._thread = thread

    def _run(self) -> None:
        try:
            connection = self._connect()
        except sqlite3.Error as error:  # the next thread may be able to
            log.error("log not carried over", extra={"error": str(error)})
            return
        with contextlib.closing(connection):
            while self._wanted.wait() and not self._stopping:
                self._wanted.clear()
                self._is_long = self._carry_over_flushed(connection) >= self._long

    def _carry_over_flushed(self, connection: sqlite3.Connection) -> int:
        """Flushes before and after, so that little is left for SQLite to flush while nobody can commit."""
        try:
            self._log.flush()
            pages = self._carry_over(connection)
            if pages >= self._long:
                self._log.flush_database()
                self._log.flush()
                pages = self._carry_over(connection)
                self._log.flush_database()
        except sqlite3.Error as error:
            log.error("log not flushed", extra={"error": str(error)})
            return 0
        return pages

    def _carry_over(self, connection: sqlite3.Connection, mode: str = "PASSIVE") -> int:
        """Returns the pages in the log; less than 0 where another process carries it over at the moment."""
        try:
            self._log.check()
            _, pages, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except (sqlite3.Error, MemoryError) as error:  # the latter is SQLite's SQLITE_NOMEM
            if isinstance(error, sqlite3.Error) and _is_of_flush(error):
                self._log.fail(error)
            log.error("log not carried over", extra={"error": str(error)})
            return 0
        return int(pages)


def _is_of_flush(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_FSYNC
