"""SQL about contents: which bytes are held here, in which cache file, and what may go."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """One immutable version of the bytes of a file; sizes in bytes."""

    id: int
    size: int
    file: str | None
    """Name of the cache file that holds it or a part of it; None when it is in the store only."""
    whole: bool
    held: int
    used: float
    flushed: bool
    checksum: int | None
    replaces: int | None
    """The content that it took the place of, which stays until this one is flushed."""


_COLUMNS = "id, size, file, whole, held, used, flushed, checksum, replaces"

_EMPTIED = "whole = CASE WHEN size = 0 THEN 1 ELSE 0 END, held = 0"
"""No byte of the content is held any more; of an empty one that is still all of it."""

_NEEDED_HERE = """
    EXISTS (SELECT 1 FROM node u WHERE u.content = content.id AND u.synced_content IS DISTINCT FROM u.content)
    OR NOT EXISTS (SELECT 1 FROM node s WHERE s.synced_content = content.id AND s.confirmed = 1)
    OR EXISTS (SELECT 1 FROM operation o WHERE o.content = content.id AND o.finished IS NULL)
    OR EXISTS (SELECT 1 FROM content r WHERE r.replaces = content.id)
"""
"""A content with a dirty user, or that no confirmed object in the store holds, must stay (invariant: dirty content is
never evicted)."""


class Contents:
    """Contents as one connection sees them; the writing methods belong in a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, content: int) -> Content | None:
        """The content with this id."""
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM content WHERE id = ?", (content,)).fetchone()
        return None if row is None else _content(row)

    def insert(self, *, size: int, used: float, file: str | None = None, flushed: bool = True,
               checksum: int | None = None) -> int:
        """A new content: whole in `file`, or (file None) known to be in the store."""
        held = size if file is not None else 0
        cursor = self._connection.execute(
            "INSERT INTO content (size, file, whole, held, used, flushed, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (size, file, file is not None or size == 0, held, used, flushed, checksum))
        self._count(held)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def materialise(self, content: int, file: str, used: float) -> str | None:
        """Give a content with no cache file one to be filled; returns the name in force.

        None when the content does not exist any more.
        """
        self._connection.execute(
            f"UPDATE content SET file = ?, {_EMPTIED}, used = ?, flushed = 1 WHERE id = ? AND file IS NULL",
            (file, used, content))
        row = self._connection.execute("SELECT file FROM content WHERE id = ?", (content,)).fetchone()
        return None if row is None else row[0]

    def add_held(self, content: int, file: str, delta: int) -> bool:
        """Count `delta` more bytes held in that cache file; False when it is not the content's any more."""
        changed = self._connection.execute(
            "UPDATE content SET held = held + ? WHERE id = ? AND file = ?", (delta, content, file)).rowcount
        if changed:
            self._count(delta)
        return bool(changed)

    def complete(self, content: int, file: str) -> None:
        """Every byte of the content is in that cache file now."""
        row = self._connection.execute(
            "SELECT size - held FROM content WHERE id = ? AND file = ? AND whole = 0", (content, file)).fetchone()
        if row is None:
            return
        self._connection.execute("UPDATE content SET whole = 1, held = size WHERE id = ?", (content,))
        self._count(row[0])

    def flushed(self, contents: list[int]) -> None:
        """Their cache files are on stable storage."""
        self._connection.executemany(
            "UPDATE content SET flushed = 1, replaces = NULL WHERE id = ?", [(content,) for content in contents])

    def note_replaced(self, content: int, replaced: int) -> None:
        """While `content` is not flushed, what it took the place of is kept: power loss may bring it back."""
        self._connection.execute(
            "UPDATE content SET replaces = ? WHERE id = ? AND flushed = 0 AND id <> ?", (replaced, content, replaced))

    def unflushed(self) -> list[Content]:
        """Contents whose cache files may not be on stable storage yet."""
        return self._many("flushed = 0 AND file IS NOT NULL", ())

    def use(self, content: int, now: float) -> None:
        """Note a use, for the order of eviction."""
        self._connection.execute("UPDATE content SET used = ? WHERE id = ?", (now, content))

    def unsynced_bytes(self) -> int:
        """Bytes held here that a file which is not in the store yet needs; each content once."""
        row = self._connection.execute(
            "SELECT coalesce(sum(held), 0) FROM content WHERE id IN ("
            "SELECT n.content FROM node n WHERE n.dirty = 1 AND n.content IS DISTINCT FROM n.synced_content)"
        ).fetchone()
        return int(row[0])

    # -- what may go ----------------------------------------------------------------------------

    def evictable(self, limit: int) -> list[Content]:
        """Clean contents with a cache file, least recently used first."""
        return self._many(
            f"file IS NOT NULL AND NOT ({_NEEDED_HERE}) ORDER BY used LIMIT ?", (limit,))

    def evict(self, content: int) -> str | None:
        """Take the cache file from a clean content; returns its name to be removed, None if it must stay."""
        row = self._connection.execute(
            f"SELECT file, held FROM content WHERE id = ? AND file IS NOT NULL AND NOT ({_NEEDED_HERE})",
            (content,)).fetchone()
        if row is None:
            return None
        self._connection.execute(f"UPDATE content SET file = NULL, {_EMPTIED} WHERE id = ?", (content,))
        self._count(-row[1])
        return str(row[0])

    def unreferenced(self, after: int, limit: int) -> list[int]:
        """Ids above `after` of contents that nothing refers to any more."""
        rows = self._connection.execute(
            "SELECT id FROM content WHERE id > ? "
            "AND NOT EXISTS (SELECT 1 FROM node n WHERE n.content = content.id) "
            "AND NOT EXISTS (SELECT 1 FROM node n WHERE n.synced_content = content.id) "
            "AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.content = content.id AND o.finished IS NULL) "
            "AND NOT EXISTS (SELECT 1 FROM content r WHERE r.replaces = content.id) "
            "ORDER BY id LIMIT ?", (after, limit))
        return [row[0] for row in rows]

    def remove_unreferenced(self, content: int) -> str | None:
        """Remove a content that nothing refers to; returns its cache file to be removed, if any."""
        if content not in self.unreferenced(content - 1, 1):
            return None
        row = self._connection.execute("SELECT file, held FROM content WHERE id = ?", (content,)).fetchone()
        self._connection.execute("DELETE FROM content WHERE id = ?", (content,))
        self._count(-row[1])
        return None if row[0] is None else str(row[0])

    def lose(self, content: int) -> None:
        """The cache file is gone or damaged: the content is in the store only, if at all."""
        row = self._connection.execute("SELECT held FROM content WHERE id = ?", (content,)).fetchone()
        if row is None:
            return
        self._connection.execute(f"UPDATE content SET file = NULL, {_EMPTIED} WHERE id = ?", (content,))
        self._count(-row[0])

    def with_files(self, after: int, limit: int) -> list[Content]:
        """Contents with a cache file and an id above `after`, by id."""
        return self._many("file IS NOT NULL AND id > ? ORDER BY id LIMIT ?", (after, limit))

    def sample(self, limit: int) -> list[Content]:
        """Some contents with a cache file: those used last and those not used for longest."""
        return [*self._many("file IS NOT NULL ORDER BY used DESC LIMIT ?", (limit // 2,)),
                *self._many("file IS NOT NULL ORDER BY used LIMIT ?", (limit // 2,))]

    def partial(self) -> list[Content]:
        """Contents of which only a part is held."""
        return self._many("file IS NOT NULL AND whole = 0", ())

    def recount(self) -> int:
        """Set the count of held bytes from the rows; returns it."""
        row = self._connection.execute("SELECT coalesce(sum(held), 0) FROM content").fetchone()
        self._connection.execute("UPDATE counter SET value = ? WHERE name = 'cached_bytes'", (row[0],))
        return int(row[0])

    def _count(self, delta: int) -> None:
        self._connection.execute("UPDATE counter SET value = value + ? WHERE name = 'cached_bytes'", (delta,))

    def _many(self, where: str, values: tuple[object, ...]) -> list[Content]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM content WHERE {where}", values)
        return [_content(row) for row in rows]


def _content(row: tuple[int, int, str | None, int, int, float, int, int | None, int | None]) -> Content:
    return Content(row[0], row[1], row[2], bool(row[3]), row[4], row[5], bool(row[6]), row[7], row[8])
