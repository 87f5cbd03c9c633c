"""SQL about the chunked layout: the objects of the store and the parts of contents that lie in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

WRITING, HELD, LEAVING, DELETING = "writing", "held", "leaving", "deleting"
"""States of an object; see the migration."""
BATCH = 500
"""Contents that one query names at most."""


class Place(NamedTuple):
    """Where one part of a content lies; sizes and offsets in bytes."""

    content: int
    number: int
    path: str
    """Store path of the object."""
    start: int
    length: int
    """Bytes in the object."""
    size: int
    """Bytes of the content."""
    method: str
    crc32: int


class StoredObject(NamedTuple):
    """An object of the store, and how much of it is in use; sizes in bytes."""

    id: int
    path: str
    size: int
    sha256: str | None
    state: str
    since: float
    journalled: bool
    payload: int
    """Bytes in it that parts of contents took when it was written."""
    live: int
    """Bytes in it that parts of contents take."""


class Waiting(NamedTuple):
    """A file whose content is not in the store yet."""

    node: int
    content: int
    size: int
    due: float
    parent: int
    name: str
    modified: float


_PLACE = "p.content, p.number, o.path, p.start, p.length, p.size, p.method, p.crc32"
_OBJECT = ("o.id, o.path, o.size, o.sha256, o.state, o.since, o.journalled, o.payload, "
           "(SELECT coalesce(sum(p.length), 0) FROM part p WHERE p.object = o.id)")


class Objects:
    """Objects and parts as one connection sees them; the writing methods belong in a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # -- contents -------------------------------------------------------------------------------

    def waiting(self, before: float) -> list[Waiting]:
        """Files whose content is not in the store yet and that are due before a time, in the order of their due."""
        rows = self._connection.execute(
            "SELECT n.id, n.content, c.size, n.due, n.parent, n.name, n.modified "
            "FROM node n JOIN content c ON c.id = n.content "
            "WHERE n.dirty = 1 AND n.parked = 0 AND n.due <= ? AND n.parent IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM stored s WHERE s.content = n.content) ORDER BY n.due", (before,))
        return [Waiting(*row) for row in rows]

    def is_stored(self, content: int) -> bool:
        """Whether the store holds all bytes of the content."""
        return self._connection.execute("SELECT 1 FROM stored WHERE content = ?", (content,)).fetchone() is not None

    def places(self, content: int) -> list[Place]:
        """Where the parts of a content lie, in their order; none for an empty one."""
        return [Place(*row) for row in self._connection.execute(
            f"SELECT {_PLACE} FROM part p JOIN object o ON o.id = p.object WHERE p.content = ? ORDER BY p.number",
            (content,))]

    def absent_from(self, path: str, start: int, largest: int) -> list[Place]:
        """Parts in an object from an offset on that are all of a content of which nothing is here, by their offsets.

        Only contents of up to `largest` bytes.
        """
        return [Place(*row) for row in self._connection.execute(
            f"SELECT {_PLACE} FROM object o JOIN part p ON p.object = o.id JOIN content c ON c.id = p.content "
            "WHERE o.path = ? AND p.start >= ? AND c.size = p.size AND c.size <= ? AND c.held = 0 AND c.whole = 0 "
            "AND c.file IS NULL ORDER BY p.start", (path, start, largest))]

    def keep(self, content: int, sha256: str | None, places: Sequence[Place]) -> bool:
        """Note where a content lies, instead of where it lay before; False when the content is not known any more.

        The objects become held again, if they were about to go.
        """
        if self._connection.execute("SELECT 1 FROM content WHERE id = ?", (content,)).fetchone() is None:
            return False
        self._connection.execute("DELETE FROM part WHERE content = ?", (content,))
        self._connection.execute("DELETE FROM stored WHERE content = ?", (content,))
        self._connection.execute("INSERT INTO stored (content, sha256) VALUES (?, ?)", (content, sha256))
        self._connection.executemany(
            "INSERT INTO part (content, number, object, start, length, size, method, crc32) "
            "SELECT ?, ?, id, ?, ?, ?, ?, ? FROM object WHERE path = ?",
            [(content, place.number, place.start, place.length, place.size, place.method, place.crc32, place.path)
             for place in places])
        self._connection.executemany(
            "UPDATE object SET state = ? WHERE path = ? AND state = ?",
            [(HELD, place.path, LEAVING) for place in places])
        return True

    def unjournalled(self) -> list[tuple[int, int, str | None]]:
        """Contents (id, size, SHA-256) of which the journal does not say where they lie now."""
        return list(self._connection.execute(
            "SELECT s.content, c.size, s.sha256 FROM stored s JOIN content c ON c.id = s.content "
            "WHERE s.journalled = 0 ORDER BY s.content"))

    def all_journalled(self) -> Iterator[tuple[int, int, str | None]]:
        """All contents (id, size, SHA-256) of which the journal says where they lie now."""
        return iter(self._connection.execute(
            "SELECT s.content, c.size, s.sha256 FROM stored s JOIN content c ON c.id = s.content "
            "WHERE s.journalled = 1 ORDER BY s.content"))

    def any_moved(self) -> bool:
        """Whether a content that the journal has lies elsewhere than the journal says."""
        return self._connection.execute(
            "SELECT 1 FROM stored s WHERE s.journalled = 0 "
            "AND EXISTS (SELECT 1 FROM node n WHERE n.synced_content = s.content) LIMIT 1").fetchone() is not None

    def are_there(self, paths: Iterable[str]) -> bool:
        """Whether all these objects are in the store, and stay if contents come to lie in them."""
        return all(self._connection.execute(
            "SELECT 1 FROM object WHERE path = ? AND state IN (?, ?)", (path, HELD, LEAVING)).fetchone()
            for path in paths)

    def note_journalled(self, contents: Iterable[int], paths: Iterable[str]) -> None:
        """The journal names these contents at their places, and these objects."""
        self._connection.executemany(
            "UPDATE stored SET journalled = 1 WHERE content = ?", [(content,) for content in contents])
        self._connection.executemany("UPDATE object SET journalled = 1 WHERE path = ?", [(path,) for path in paths])

    # -- objects --------------------------------------------------------------------------------

    def get(self, path: str) -> StoredObject | None:
        """The object at a store path."""
        row = self._connection.execute(f"SELECT {_OBJECT} FROM object o WHERE o.path = ?", (path,)).fetchone()
        return None if row is None else _object(row)

    def journalled(self) -> Iterator[StoredObject]:
        """Objects that the journal names, by path."""
        return (_object(row) for row in self._connection.execute(
            f"SELECT {_OBJECT} FROM object o WHERE o.journalled = 1 ORDER BY o.path"))

    def all(self, state: str, after: str = "", limit: int = -1) -> list[StoredObject]:
        """Objects in a state whose paths follow `after`, by path."""
        return [_object(row) for row in self._connection.execute(
            f"SELECT {_OBJECT} FROM object o WHERE o.state = ? AND o.path > ? ORDER BY o.path LIMIT ?",
            (state, after, limit))]

    def unjournalled_objects(self) -> list[StoredObject]:
        """Objects in which contents lie and that the journal does not name."""
        return [_object(row) for row in self._connection.execute(
            f"SELECT {_OBJECT} FROM object o WHERE o.state = ? AND o.journalled = 0 "
            "AND EXISTS (SELECT 1 FROM part p WHERE p.object = o.id) ORDER BY o.path", (HELD,))]

    def unreleased(self) -> list[StoredObject]:
        """Objects that are to go and that the journal still names."""
        return [_object(row) for row in self._connection.execute(
            f"SELECT {_OBJECT} FROM object o WHERE o.state = ? AND o.journalled = 1 ORDER BY o.path", (LEAVING,))]

    def note_released(self, paths: Iterable[str], now: float) -> None:
        """The journal does not name these objects any more: the time of grace of those that are to go begins now.

        One in which a content came to lie meanwhile is to be named again.
        """
        self._connection.executemany(
            "UPDATE object SET journalled = 0, since = ? WHERE path = ?", [(now, path) for path in paths])

    def begin(self, path: str, now: float) -> None:
        """An object is about to be written; one that was not finished earlier is begun anew."""
        if self.get(path) is None:
            self._connection.execute(
                "INSERT INTO object (path, state, since) VALUES (?, ?, ?)", (path, WRITING, now))

    def written(self, path: str, *, size: int, payload: int, sha256: str | None, now: float) -> None:
        """The object is in the store; contents take `payload` of its bytes."""
        self._connection.execute(
            "UPDATE object SET size = ?, payload = ?, sha256 = ?, state = ?, since = ? WHERE path = ? AND state <> ?",
            (size, payload, sha256, HELD, now, path, DELETING))

    def insert(self, path: str, *, size: int, payload: int, sha256: str | None, state: str, now: float,
               journalled: bool) -> None:
        """An object that was found in the store."""
        self._connection.execute(
            "INSERT INTO object (path, size, payload, sha256, state, since, journalled) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (path, size, payload, sha256, state, now, journalled))

    def set_state(self, path: str, state: str, now: float) -> None:
        """Bring an object into another state."""
        self._connection.execute("UPDATE object SET state = ?, since = ? WHERE path = ?", (state, now, path))

    def unused(self, before: float, limit: int) -> list[StoredObject]:
        """Objects being written or held since before a time in which no content lies."""
        return [_object(row) for row in self._connection.execute(
            f"SELECT {_OBJECT} FROM object o WHERE o.state IN (?, ?) AND o.since <= ? "
            "AND NOT EXISTS (SELECT 1 FROM part p WHERE p.object = o.id) LIMIT ?", (WRITING, HELD, before, limit))]

    def in_state_since(self, state: str, before: float, limit: int) -> list[StoredObject]:
        """Objects that are in a state since before a time."""
        return [_object(row) for row in self._connection.execute(
            f"SELECT {_OBJECT} FROM object o WHERE o.state = ? AND o.since <= ? ORDER BY o.since LIMIT ?",
            (state, before, limit))]

    def contents_in(self, path: str) -> list[int]:
        """The contents of which a part lies in the object, in the order of their offsets."""
        return [row[0] for row in self._connection.execute(
            "SELECT p.content FROM object o JOIN part p ON p.object = o.id WHERE o.path = ? ORDER BY p.start", (path,))]

    def remove(self, path: str) -> None:
        """The object is not in the store any more."""
        self._connection.execute("DELETE FROM object WHERE path = ?", (path,))


def _object(row: tuple[int, str, int, str | None, str, float, int, int, int]) -> StoredObject:
    return StoredObject(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]), row[7], row[8])
