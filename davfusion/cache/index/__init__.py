"""The index: one SQLite database per share, the only mutable shared state.

All SQL of the share lives in this package. Everything above works with a `View`: the whole index as
one connection sees it, for reading (`Index.view`) or inside a write transaction (`Index.write`).
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from davfusion.cache.errors import CacheFullError
from davfusion.cache.index.contents import Content, Contents
from davfusion.cache.index.database import Database, Durability
from davfusion.cache.index.journalled import Journalled, JournalledNode
from davfusion.cache.index.locks import LockRow, Locks, Properties
from davfusion.cache.index.nodes import Nodes
from davfusion.cache.index.objects import Objects, Place, StoredObject, Waiting
from davfusion.cache.index.operations import Kind, Operation, Operations
from davfusion.cache.index.paths import Member, Paths, Sight
from davfusion.cache.index.record import NewFile, Record, SavedAgain, SavedFile, Spot, Standing
from davfusion.cache.node import ROOT_ID, Lock, Node
from davfusion.store.errors import TemporaryError

__all__ = [
    "Content", "Durability", "Index", "JournalledNode", "Kind", "LockRow", "NewFile", "Operation", "Place", "Record",
    "SavedAgain", "SavedFile", "Spot", "Standing", "StoredObject", "View", "Waiting"]

Item = TypeVar("Item")
T = TypeVar("T")


class View:
    """The index as one connection sees it: nodes, contents, locks, properties, operations.

    It is the `TreeView` that guards are handed: `find`, `locks_on`, `locks_under` work on local paths.
    """

    def __init__(self, connection: sqlite3.Connection, *, nonce: str, clock: Callable[[], float]) -> None:
        self.nodes = Nodes(connection)
        self.paths = Paths(connection)
        self.contents = Contents(connection)
        self.locks = Locks(connection)
        self.properties = Properties(connection)
        self.operations = Operations(connection)
        self.objects = Objects(connection)
        self.journalled = Journalled(connection)
        self._connection = connection
        self._nonce = nonce
        self._era: int | None = None
        self._unlocked: tuple[int | None, int] | None = None
        """The era in which nothing was locked, and how many locks had been made here by then."""
        self.now = clock
        """The time in seconds since the epoch."""

    def begin(self, era: int) -> None:
        """A change begins. In an era nobody but this connection changes anything, and nothing of that is undone."""
        self.nodes.keep_chains()
        self._era = era

    def find(self, path: str) -> Node | None:
        """The node at a local path, as the index knows it."""
        record = self.nodes.resolve(path)
        return None if record is None else self.node(record, path)

    def node(self, record: Record | Sight | Member, path: str) -> Node:
        """What the rooms above see of a record that is at `path`."""
        named = record.id if record.is_folder else record.content
        return Node(
            id=record.id or 0, path=path, is_folder=bool(record.is_folder), content=record.content,
            size=record.size or 0, modified=record.modified, created=record.created,
            etag=_etag(self._nonce, "f" if record.is_folder else "", named or 0), media_type=record.media_type,
            dirty=bool(record.dirty))

    def locks_on(self, path: str) -> list[Lock]:
        """Locks that cover the path: its own, and those of depth infinity above it."""
        now = self.now()
        if not self.anything_locked():
            return []
        chain = self.nodes.chain(path)
        depth = 0 if path == "/" else path.count("/")
        found: list[Lock] = []
        for level, record in enumerate(chain):
            rows = self.locks.on(record.id, now)
            here = level == depth
            root = "/".join(path.split("/")[:level + 1]) or "/"
            found += [_lock(row, root) for row in rows if here or row.infinite]
        return found

    def anything_locked(self) -> bool:
        """Whether there is any lock at all."""
        moment = self._era, self.locks.made
        if self._era is not None and self._unlocked == moment:
            return False
        locked = self.locks.any(self.now())
        self._unlocked = None if locked else moment
        return locked

    def locks_under(self, path: str) -> list[Lock]:
        """Locks whose root is strictly below the path."""
        prefix = path.rstrip("/") + "/"
        found: list[Lock] = []
        for row in self.locks.all(self.now()):
            root = self.nodes.path(row.node)
            if root is not None and root != path and root.startswith(prefix):
                found.append(_lock(row, root))
        return found

    def lock_by_token(self, token: str) -> Lock | None:
        """The unexpired lock with this token, unless its node left the tree."""
        row = self.locks.get(token, self.now())
        root = None if row is None else self.nodes.path(row.node)
        return None if row is None or root is None else _lock(row, root)


class Index:
    """Opens and closes the index of one share; thread-safe, and safe with other processes on the same file."""

    def __init__(self, path: Path, *, durability: Durability = Durability.POWER_SAFE,
                 clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, durability=durability)
        self._clock = clock
        self._views = threading.local()
        self._inside: View | None = None
        self._nonce = self._database.write(lambda connection: _begin(connection, clock()))

    def view(self) -> View:
        """The index outside any transaction: each query sees the last commit."""
        view: View | None = getattr(self._views, "own", None)
        if view is None:
            view = self._views.own = View(self._database.reader(), nonce=self._nonce, clock=self._clock)
        return view

    @contextlib.contextmanager
    def reading(self) -> Iterator[View]:
        """The index as it is at one moment, for several queries of this thread that must agree."""
        connection = self._database.reader()
        connection.execute("BEGIN")
        try:
            yield View(connection, nonce=self._nonce, clock=self._clock)
        finally:
            connection.execute("COMMIT")

    def write(self, change: Callable[[View], T]) -> T:
        """Run `change` in one transaction; what it raises rolls it back. Durable when this returns.

        Raises CacheFullError when the disk has no room for it, TemporaryError when other processes keep the index.
        """
        try:
            return self._database.write(lambda connection: change(self._view_inside(connection)))
        except sqlite3.OperationalError as error:
            raise _translated(error) from error

    def together(self, change: Callable[[View, Sequence[Item]], Sequence[T | Exception]],
                 ) -> Callable[[Item], Callable[[], T]]:
        """Have changes of one kind made together. Returns what asks for that of one item, and goes on.

        Items that were asked for next to each other are handed to `change` at once, in their order, inside one
        transaction. It returns what came of each: its result, or the exception that refuses it, for which nothing was
        changed. What it raises itself fails all that is committed with it.

        What asking returns is to be called, once, by any thread: it returns or raises as `write` does. When it is not
        called, the change is made all the same, some time or never.
        """
        def changed(connection: sqlite3.Connection, items: Sequence[Item]) -> Sequence[T | Exception]:
            return change(self._view_inside(connection), items)

        def begin(item: Item) -> Callable[[], T]:
            return _translating(self._database.begin(changed, item))
        return begin

    def _view_inside(self, connection: sqlite3.Connection) -> View:
        # The database gives its only writing connection to one change at a time.
        if self._inside is None:
            self._inside = View(connection, nonce=self._nonce, clock=self._clock)
        self._inside.begin(self._database.era)
        return self._inside

    def saved(self, path: str, file: SavedFile) -> Node:
        """The node of a file that was saved at a local path, as it was then."""
        content = file.content
        return Node(
            id=file.node, path=path, is_folder=False, content=content.id, size=content.size, modified=file.modified,
            created=file.created, etag=_etag(self._nonce, "", content.id), media_type=file.media_type, dirty=True)

    def flush(self) -> None:
        """Put all commits on stable storage now, also where the durability does not ask for it."""
        self._database.flush()

    def now(self) -> float:
        """The time in seconds since the epoch."""
        return self._clock()

    def turns(self) -> int:
        """Another number after every commit of any process, odd where one may be under way. Any thread may ask."""
        return self._database.turns()

    def data_version(self) -> int:
        """Changes whenever another connection has committed; to be compared within one thread."""
        return self._database.data_version()

    def size(self) -> int:
        """Bytes that the index takes on disk, without what is free in it and without its log."""
        return self._database.size()

    def log_size(self) -> int:
        """Bytes of the log of the index."""
        return self._database.log_size()

    def shorten_log(self) -> None:
        """Let the log take no room; where somebody reads in it, later."""
        self._database.shorten_log()

    def close(self) -> None:
        """Close; nothing may use the index afterwards."""
        self._database.close()


def _translating(result: Callable[[], T]) -> Callable[[], T]:
    def translated() -> T:
        try:
            return result()
        except sqlite3.OperationalError as error:
            raise _translated(error) from error
    return translated


def _translated(error: sqlite3.OperationalError) -> Exception:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return CacheFullError("The disk of the cache is full", "/")
        case sqlite3.SQLITE_BUSY:
            return TemporaryError("The index is in use by another process for too long", retry_after=5.0)
    return error


def _begin(connection: sqlite3.Connection, now: float) -> str:
    """The nonce, which tells the entity tags of this index from those of any other that served the same names.

    Made at the first opening, when the root gets its times too.
    """
    operations = Operations(connection)
    nonce = operations.meta("nonce")
    if nonce is None:
        nonce = secrets.token_hex(5)
        operations.set_meta("nonce", nonce)
        Nodes(connection).update(ROOT_ID, modified=now, created=now)
    return nonce


def _etag(nonce: str, kind: str, number: int) -> str:
    return f'"{nonce}-{kind}{number:x}"'


def _lock(row: LockRow, path: str) -> Lock:
    return Lock(token=row.token, path=path, exclusive=row.exclusive, infinite=row.infinite, owner=row.owner,
                principal=row.principal, timeout=row.timeout, expires=row.expires)
