"""SQLite's write-ahead log, and putting it on stable storage apart from the commits.

A commit that flushes would hold the index for all others until the disk has answered. Commits do not, then: they add to
the log, others follow, and who has committed flushes the log before anybody learns of it. A flush covers all that is in
the log by then, of every process, so that nothing acknowledged can rest on something that is lost. SQLite itself
flushes the log before it carries it over into the database, and the database before it begins the log anew.

The locks of SQLite are on its other files: this one may be opened and closed beside it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_flush = getattr(os, "fdatasync", os.fsync)
_DESCRIPTORS = Path("/proc/self/fd")
"""Where Linux tells what a process has open."""
_CLOSED = (errno.ENOENT, errno.EBADF, errno.EINVAL)
"""What comes of a descriptor that was closed meanwhile, or is another one by now."""


def _flush_open_file(path: Path) -> None:
    """Flush a file that this process has open, by a descriptor that is there; nothing where the system does not tell.

    The database itself must not be opened for it: to close it again would drop the locks that SQLite has on it (POSIX).
    """
    for entry in _DESCRIPTORS.iterdir() if _DESCRIPTORS.exists() else ():
        try:
            if entry.readlink() == path:
                _flush(int(entry.name))
                return
        except OSError as error:
            if error.errno not in _CLOSED:
                raise


class WriteAheadLog:
    """The log of one database, which stays the same file as long as the database is open. Thread-safe."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-wal")
        self._database = database.resolve()
        self._lock = threading.Lock()
        self._descriptor = -1
        self._flushes = 0
        """Under way."""
        self._closed = False
        self._failure: OSError | sqlite3.Error | None = None

    def flush(self) -> None:
        """Put on stable storage what is in the log.

        Raises sqlite3.OperationalError (SQLITE_IOERR_FSYNC) when the disk fails, and from then on always: the system
        tells of a failure once and forgets what it lost. Raises sqlite3.ProgrammingError when the log is closed.
        """
        if self._failure is None:
            try:
                with self._opened() as descriptor:
                    _flush(descriptor)
            except OSError as error:
                self._failure = error
        self.check()

    def flush_database(self) -> None:
        """Put on stable storage what was carried over into the database, where the system lets us. Raises as `flush`.

        SQLite does so itself before the log begins anew, in a commit: what it finds done costs it nothing.
        """
        if self._failure is None:
            try:
                _flush_open_file(self._database)
            except OSError as error:
                self._failure = error
        self.check()

    def check(self) -> None:
        """Raise what a flush raised, if one did."""
        if self._failure is not None:
            failed = sqlite3.OperationalError(
                f"The disk of the index fails: {self._failure}. Nothing is written any more; repair it and start again")
            failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise failed from self._failure

    def fail(self, error: sqlite3.Error) -> None:
        """Raise from now on, because a flush of SQLite's own has failed."""
        self._failure = self._failure or error

    def close(self) -> None:
        """Close the file; a flush that is under way ends well before."""
        with self._lock:
            self._closed = True
            self._close_when_unused()

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with self._lock:
            if self._closed:
                raise sqlite3.ProgrammingError("The index is closed")
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            self._flushes += 1
        try:
            yield self._descriptor
        finally:
            with self._lock:
                self._flushes -= 1
                self._close_when_unused()

    def _close_when_unused(self) -> None:
        if self._closed and not self._flushes and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
