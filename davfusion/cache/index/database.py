"""The SQLite database of one share: connections, transactions that share flushes, migrations.

Reads use a connection per thread and see the last commit of any process. Writes of all threads of a
process go through one connection; those that wait at the same time are committed together, so that
they share one flush (`log.py`), during which others commit. The log is carried over into the database
beside the commits (`checkpoint.py`). Several processes may have the same database open (WAL); they take
turns (`turn.py`), and SQLite's own lock keeps their transactions apart.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from importlib import resources
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from davfusion.cache.index.checkpoint import ROOM, TOO_LONG, Checkpointer
from davfusion.cache.index.log import WriteAheadLog
from davfusion.cache.index.turn import Turn
from davfusion.cache.index.waiting import Change, Signal, Together, Write

log = logging.getLogger("davfusion.cache.index")

T = TypeVar("T")

BUSY_TIMEOUT = 30.0
"""Seconds that a transaction waits for one of another process."""
BUSY_PAUSE = (0.0003, 0.0015)
"""Seconds between two attempts to begin a transaction, at random so that processes do not keep step."""
PATIENCE = 0.05
"""Seconds after which a waiting write looks for itself whether somebody still commits."""
LARGEST_BATCH = 64
"""Writes committed together at most, so that no transaction becomes long."""
GATHERING = 0.003
"""Seconds that a commit waits at most for those whose last writes were committed together."""


class Durability(Enum):
    """What an acknowledged change survives (DESIGN, 6)."""

    POWER_SAFE = "power-safe"
    """kill -9 and power loss."""
    PROCESS_SAFE = "process-safe"
    """kill -9; power loss may cost the last second."""


class _Reader:
    """The reading connection of one thread, closed when the thread is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Database:
    """Opens, migrates, reads and writes one database file. Thread-safe."""

    def __init__(self, path: Path, *, durability: Durability = Durability.POWER_SAFE) -> None:
        self._path = path
        self._durability = durability
        self._local = threading.local()
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        """Each belongs to a thread and ends with it."""
        self._readers_lock = threading.Lock()
        self._writing = threading.Lock()
        self._turn = Turn(path.with_name(path.name + ".turn"))
        self._log = WriteAheadLog(path)
        self._checkpointer = Checkpointer(self._connect, self._log)
        self._flushing = threading.Lock()
        self._queue: deque[Write[Any]] = deque()
        self._expected = 1
        """Writes that are likely to be asked for together."""
        self._gathered = Signal()
        self._writer = self._connect()
        self._closed = False
        self.era = 0
        """Another number in each transaction to write, and after each change that was rolled back in it."""
        self._commits = self._flushed = 0
        """Of this process: all, and those known to be on stable storage."""
        self._migrate()
        self._writer.execute("PRAGMA busy_timeout = 0")
        self._page = int(self._writer.execute("PRAGMA page_size").fetchone()[0])

    # -- transactions ---------------------------------------------------------------------------

    def reader(self) -> sqlite3.Connection:
        """This thread's reading connection, outside any transaction."""
        reader: _Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            reader = self._local.reader = _Reader(connection)
            with self._readers_lock:
                self._readers.add(reader)
        return reader.connection

    def write(self, change: Change[T]) -> T:
        """Run `change` in a transaction; returns its result when it is committed and durable.

        What it raises rolls it back, alone, and is raised here. It must not wait for anything: the
        index is held meanwhile. It may run in another thread of this process. Raises sqlite3.OperationalError
        (SQLITE_BUSY) when others hold the index for too long; then the change was not made and will not be.
        """
        write = Write(change)
        write.signal = Signal()
        self._queue.append(write)
        if len(self._queue) >= self._expected:
            self._gathered.set()
        return self._settle(write, self._gather)

    def begin(self, together: Together, item: Any) -> Callable[[], Any]:
        """Ask for a change of `item` and go on; it takes place with the next commit of this process.

        Those that follow one another and were begun with an equal `together` are handed to it at once. What it raises
        itself fails all that is committed with it: it has no savepoint.

        What is returned is to be called, once, by any thread: it sees to the commit, of this and of all that was
        asked for until then, and returns or raises what came of the item. It waits for no companions.
        """
        write: Write[Any] = Write(together=together, item=item)
        self._queue.append(write)
        return partial(self._settle, write, _wait_for_nobody)

    def _settle(self, write: Write[T], gather: Callable[[], None]) -> T:
        """Commit it with those that wait too, or let another thread do so, and return what came of it."""
        if not write.done:
            self._see_to(write, gather)
        if write.error is not None:
            raise write.error
        return write.result  # type: ignore[return-value]

    def _see_to(self, write: Write[T], gather: Callable[[], None]) -> None:
        signal = write.signal = write.signal or Signal()
        deadline = time.monotonic() + BUSY_TIMEOUT
        while not write.done:
            batch = self._commit_queued(gather)
            if batch:
                self._acknowledge(batch)
                continue
            signal.wait(PATIENCE)
            if time.monotonic() > deadline:
                self._give_up(write)

    def _give_up(self, write: Write[Any]) -> None:
        """End the waiting of a write that nobody has begun: the thread that commits is kept from its turn."""
        with contextlib.suppress(ValueError):  # it is being committed
            self._queue.remove(write)
            write.error = sqlite3.OperationalError("database is locked")
            write.error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            write.done = True

    def _signal_next(self) -> None:
        # The list is made in one step, whoever adds to the queue meanwhile.
        for write in list(self._queue):
            if write.signal is not None:
                write.signal.set()
                return

    def _commit_queued(self, gather: Callable[[], None]) -> list[Write[Any]]:
        """Commit what is queued, unless another thread does; returns what was, well or not, to be acknowledged."""
        batch: list[Write[Any]] = []
        if not self._writing.acquire(blocking=False):
            return batch
        try:
            gather()
            with contextlib.suppress(IndexError):  # one was given up meanwhile
                while len(batch) < LARGEST_BATCH:
                    batch.append(self._queue.popleft())
            if batch:
                waiting = sum(write.signal is not None for write in batch)
                self._commit(batch)
                self._expected = min(LARGEST_BATCH, waiting + len(self._queue))
        finally:
            self._writing.release()
        self._signal_next()
        return batch

    def _acknowledge(self, batch: list[Write[Any]]) -> None:
        """Tell those who wait, when what was committed is durable. Meanwhile others commit."""
        try:
            if self._durability is Durability.POWER_SAFE and any(write.error is None for write in batch):
                self._log.flush()
        except BaseException as error:
            for write in batch:
                write.error = write.error or error
        finally:
            for write in batch:
                write.done = True
                if write.signal is not None:  # else its thread asks whether it is done before it waits
                    write.signal.set()

    def _gather(self) -> None:
        """Wait for those who wrote a moment ago, if as many come as then: one commit for all costs less than two.

        Nobody is waited for who writes alone, and not again after somebody did not come.
        """
        if len(self._queue) < self._expected:
            self._gathered.wait(0)
            if len(self._queue) < self._expected:
                self._gathered.wait(GATHERING)

    def _commit(self, batch: list[Write[Any]]) -> None:
        try:
            self._log.check()
            with self._turn.taken():
                self._transact(batch)
        except BaseException as error:
            for write in batch:
                write.error = write.error or error

    def _transact(self, batch: list[Write[Any]]) -> None:
        connection = self._writer
        try:
            _execute_when_free(connection, "BEGIN IMMEDIATE")
            self.era += 1
            if len(batch) == 1 and batch[0].change is not None:
                batch[0].result = batch[0].change(connection)
            else:
                self._run_all(connection, batch)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        self._commits += 1
        self._checkpointer.committed(connection)

    def _run_all(self, connection: sqlite3.Connection, batch: list[Write[Any]]) -> None:
        for together, writes in groupby(batch, key=attrgetter("together")):
            if together is not None:
                self._run_together(connection, together, list(writes))
                continue
            for write in writes:
                self._run(connection, write)

    @staticmethod
    def _run_together(connection: sqlite3.Connection, together: Together, writes: list[Write[Any]]) -> None:
        outcomes = together(connection, [write.item for write in writes])
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Exception):
                write.error = outcome
            else:
                write.result = outcome

    def _run(self, connection: sqlite3.Connection, write: Write[Any]) -> None:
        assert write.change is not None
        connection.execute("SAVEPOINT change")
        try:
            write.result = write.change(connection)
        except BaseException as error:
            write.error = error
            if not connection.in_transaction:
                raise  # SQLite has rolled back everything, as it does when the disk fails
            connection.execute("ROLLBACK TO change")
            self.era += 1
        connection.execute("RELEASE change")

    # -- life -----------------------------------------------------------------------------------

    def turns(self) -> int:
        """The count of turns to write (`turn.py`): another one after every commit of any process."""
        return self._turn.count

    def data_version(self) -> int:
        """Changes whenever any other connection has committed; to be compared in one thread."""
        return int(self.reader().execute("PRAGMA data_version").fetchone()[0])

    def size(self) -> int:
        """Bytes of the pages in use, on disk or soon; pages that are free to be used again not, nor the log."""
        pages, free = (int(self.reader().execute(f"PRAGMA {name}").fetchone()[0])
                       for name in ("page_count", "freelist_count"))
        return (pages - free) * self._page

    def log_size(self) -> int:
        """Bytes of the log."""
        log = self._path.with_name(self._path.name + "-wal")
        return log.stat().st_size if log.exists() else 0

    def shorten_log(self) -> None:
        """Carry the log over and cut it off, so that it takes no room; where somebody reads in it, later."""
        with self._writing:
            if not self._closed:
                with self._turn.taken():
                    self._checkpointer.shorten(self._writer)
        self._signal_next()

    def close(self) -> None:
        """Close all connections; nothing may use the database afterwards."""
        with self._writing, self._flushing:
            if self._closed:
                return
            self._closed = True
            self._checkpointer.close()
            self._log.close()
            with self._readers_lock:
                for reader in self._readers:
                    reader.connection.close()
            self._writer.close()
            self._turn.close()

    def flush(self) -> None:
        """Put everything that is committed on stable storage, where commits do not do so themselves.

        Raises sqlite3.OperationalError when the disk fails; nothing more is written then.
        """
        if self._durability is Durability.POWER_SAFE:
            return
        with self._flushing:
            commits = self._commits
            if self._closed or self._flushed == commits:
                return
            self._log.flush()
            self._flushed = commits

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False,
            cached_statements=512)
        try:
            # SQLite does not wait here by itself, for one that makes the database at the same time.
            _execute_when_free(connection, "PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -8192")
        connection.execute(f"PRAGMA wal_autocheckpoint = {TOO_LONG}")
        connection.execute(f"PRAGMA journal_size_limit = {ROOM}")
        # Some builds of SQLite write zeros over what is removed: nine times as much to write. Cache files get none.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _migrate(self) -> None:
        scripts = sorted(
            (item for item in resources.files(__package__).joinpath("migrations").iterdir()
             if item.name.endswith(".sql")), key=lambda item: item.name)
        if self._version() >= len(scripts):
            return
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for number, script in enumerate(scripts[self._version():], start=self._version() + 1):
                for statement in _statements(script.read_text()):
                    self._writer.execute(statement)
                self._writer.execute(f"PRAGMA user_version = {number}")
                log.info("index migrated", extra={"number": number, "script": script.name})
            self._writer.execute("COMMIT")
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise

    def _version(self) -> int:
        return int(self._writer.execute("PRAGMA user_version").fetchone()[0])


def _wait_for_nobody() -> None:
    pass


def _execute_when_free(connection: sqlite3.Connection, statement: str) -> None:
    """Execute a statement as soon as no other connection keeps it from it. Raises sqlite3.OperationalError at last.

    SQLite's own waiting grows to 100 ms a step, in which other processes commit many times: ours is even.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(*BUSY_PAUSE))


def _statements(script: str) -> list[str]:
    """The statements of a migration, which has no `;` but at their ends."""
    lines = (line.split("--", 1)[0] for line in script.splitlines())
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]
