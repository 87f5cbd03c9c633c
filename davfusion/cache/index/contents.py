"""SQL about contents: which bytes are held here, in a cache file or in the index itself, and what may go.

Each content lies in one place at most: a small one in the table `small`, whole, any other in a cache file, whole or in
parts. What a cache file holds is counted in `cached_bytes`; what the index holds counts by the size of the index.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from typing import NamedTuple

from davfusion.cache.index.inserting import insert_rows


class Content(NamedTuple):
    """One immutable version of the bytes of a file; sizes in bytes. A tuple, because each upload makes one."""

    id: int
    size: int
    file: str | None
    """Name of the cache file that holds it or a part of it; None when it is in the index or in the store only."""
    whole: bool
    """Every byte is here, in the file or in the index."""
    held: int
    """Bytes that are here."""
    used: float
    flushed: bool
    checksum: int | None
    replaces: int | None
    """The content that it took the place of, which stays until this one is flushed."""


_COLUMNS = "id, size, file, whole, held, used, flushed, checksum, replaces"

_ALL = ", ".join(f"content.{name}" for name in _COLUMNS.split(", "))

_HERE = "(file IS NOT NULL OR held > 0)"
"""Anything of the content is here; worded as in the index `content_here`."""

_EMPTIED = "whole = CASE WHEN size = 0 THEN 1 ELSE 0 END, held = 0"
"""No byte of the content is held any more; of an empty one that is still all of it."""

_NEEDED_HERE = """
    EXISTS (SELECT 1 FROM node u WHERE u.content = content.id AND u.synced_content IS DISTINCT FROM u.content)
    OR NOT EXISTS (SELECT 1 FROM node s WHERE s.synced_content = content.id AND s.confirmed = 1)
    OR EXISTS (SELECT 1 FROM operation o WHERE o.content = content.id AND (o.finished IS NULL OR o.late = 1))
    OR EXISTS (SELECT 1 FROM content r WHERE r.replaces = content.id)
"""
"""A content with a dirty user, or that no confirmed object in the store holds, must stay (invariant: dirty content is
never evicted)."""

_MAY_BE_JOURNALLED = """
    EXISTS (SELECT 1 FROM stored s WHERE s.content = content.id)
    AND EXISTS (SELECT 1 FROM meta m WHERE m.name = 'journal_pending' AND m.value <> '')
"""
"""A content in the store while an entry of the journal is on its way, or in doubt: the entry may name it."""

_UNREFERENCED = f"""
    NOT EXISTS (SELECT 1 FROM node n WHERE n.content = content.id)
    AND NOT EXISTS (SELECT 1 FROM node n WHERE n.synced_content = content.id)
    AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.content = content.id AND (o.finished IS NULL OR o.late = 1))
    AND NOT EXISTS (SELECT 1 FROM content r WHERE r.replaces = content.id)
    AND NOT ({_MAY_BE_JOURNALLED})
"""
"""Nothing needs the content any more, here or on the way to the store."""


class Contents:
    """Contents as one connection sees them; the writing methods belong in a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, content: int) -> Content | None:
        """The content with this id."""
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM content WHERE id = ?", (content,)).fetchone()
        return None if row is None else _content(row)

    def opened(self, content: int) -> tuple[Content, bytes | None] | None:
        """The content with this id and, where the index holds it, its bytes."""
        row = self._connection.execute(
            f"SELECT {_ALL}, small.bytes FROM content LEFT JOIN small ON small.content = content.id "
            "WHERE content.id = ?", (content,)).fetchone()
        return None if row is None else (_content(row[:-1]), row[-1])

    def receive_small(self, bodies: Sequence[bytes | bytearray], used: float) -> list[Content]:
        """New contents from clients, whole in the index, in the order of their bodies."""
        if not bodies:
            return []
        sizes = [len(body) for body in bodies]
        ids = insert_rows(self._connection, "content (size, whole, held, used)", "(?, 1, ?, ?)",
                          [(size, size, used) for size in sizes])
        filled = [(number, body) for number, body in zip(ids, bodies, strict=True) if body]
        if filled:
            insert_rows(self._connection, "small (content, bytes)", "(?, ?)", filled)
        return [Content(number, size, None, True, size, used, True, None, None)
                for number, size in zip(ids, sizes, strict=True)]

    def receive_file(self, size: int, file: str, used: float, *, flushed: bool, checksum: int | None) -> Content:
        """A new content from a client, whole in a cache file."""
        content = self.insert(size=size, used=used, file=file, flushed=flushed, checksum=checksum)
        return Content(content, size, file, True, size, used, flushed, checksum, None)

    def keep_small(self, content: int, data: bytes, used: float) -> None:
        """All bytes of a content came from the store: hold them in the index, if nothing holds any of them yet."""
        changed = self._connection.execute(
            "UPDATE content SET whole = 1, held = size, used = ? "
            "WHERE id = ? AND size = ? AND file IS NULL AND whole = 0", (used, content, len(data))).rowcount
        if changed:
            self._connection.execute("INSERT INTO small (content, bytes) VALUES (?, ?)", (content, data))

    def insert(self, *, size: int, used: float, file: str | None = None, flushed: bool = True,
               checksum: int | None = None) -> int:
        """A new content: whole in `file`, or (file None) known to be in the store."""
        held = size if file is not None else 0
        cursor = self._connection.execute(
            "INSERT INTO content (size, file, whole, held, used, flushed, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (size, file, file is not None or size == 0, held, used, flushed, checksum))
        if held:
            self._count(held)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def materialise(self, content: int, file: str, used: float, *, lost: str | None = None) -> str | None:
        """Give a content of which nothing is here a cache file to be filled; returns the name in force.

        `lost`: a cache file that is not there; where it is the content's still, with a part of it, nothing is here.
        None when the content does not exist any more, or the index holds it by now.
        """
        if lost is not None:
            self._lose_part(content, lost)
        self._connection.execute(
            f"UPDATE content SET file = ?, {_EMPTIED}, used = ?, flushed = 1 "
            "WHERE id = ? AND file IS NULL AND held = 0",
            (file, used, content))
        row = self._connection.execute("SELECT file FROM content WHERE id = ?", (content,)).fetchone()
        return None if row is None else row[0]

    def _lose_part(self, content: int, file: str) -> None:
        """The cache file with a part of the content is not there. One that is whole may be the only copy: it stays."""
        row = self.get(content)
        if row is not None and row.file == file and not row.whole:
            self._empty(row)

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
        """Contents whose cache files may not be on stable storage yet, in the order in which they came."""
        return self._many("flushed = 0 AND file IS NOT NULL ORDER BY id", ())

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

    def held_bytes(self) -> int:
        """Bytes held here in all, in cache files and in the index."""
        row = self._connection.execute(f"SELECT coalesce(sum(held), 0) FROM content WHERE {_HERE}").fetchone()
        return int(row[0])

    # -- what may go ----------------------------------------------------------------------------

    def evictable(self, limit: int) -> list[Content]:
        """Clean contents of which anything is here, least recently used first."""
        return self._many(f"{_HERE} AND NOT ({_NEEDED_HERE}) ORDER BY used LIMIT ?", (limit,))

    def evict(self, content: int) -> bool:
        """Hold nothing of a clean content any more; its cache file is to be removed then. False if it must stay."""
        rows = self._many(f"id = ? AND {_HERE} AND NOT ({_NEEDED_HERE})", (content,))
        if rows:
            self._empty(rows[0])
        return bool(rows)

    def newest(self) -> int:
        """The highest id of a content; 0 where there is none."""
        row = self._connection.execute("SELECT coalesce(max(id), 0) FROM content").fetchone()
        return int(row[0])

    def unreferenced(self, after: int, limit: int, *, last: int = sys.maxsize) -> list[int]:
        """Ids above `after`, up to `last`, of contents that nothing refers to any more."""
        rows = self._connection.execute(
            f"SELECT id FROM content WHERE id > ? AND id <= ? AND {_UNREFERENCED} ORDER BY id LIMIT ?",
            (after, last, limit))
        return [row[0] for row in rows]

    def remove_unreferenced(self, content: int) -> str | None:
        """Remove a content that nothing refers to; returns its cache file to be removed, if any."""
        files = self.remove_all_unreferenced([content])
        return files[0] if files else None

    def remove_all_unreferenced(self, contents: Sequence[int]) -> list[str]:
        """Remove those of the contents that nothing refers to; returns their cache files to be removed."""
        marks = ", ".join("?" * len(contents))
        rows = self._many(f"id IN ({marks}) AND {_UNREFERENCED}", tuple(contents))
        in_files = sum(row.held for row in rows if row.file is not None)
        if in_files:
            self._count(-in_files)
        for table, column in (("small", "content"), ("content", "id"), ("stored", "content"), ("part", "content")):
            self._connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(row.id,) for row in rows])
        return [row.file for row in rows if row.file is not None]

    def lose(self, content: int) -> None:
        """What was here of it is gone or damaged: the content is in the store only, if at all."""
        row = self.get(content)
        if row is not None:
            self._empty(row)

    def with_files(self, after: int, limit: int) -> list[Content]:
        """Contents with a cache file and an id above `after`, by id."""
        return self._many("file IS NOT NULL AND id > ? ORDER BY id LIMIT ?", (after, limit))

    def sample(self, limit: int) -> list[Content]:
        """Some contents with a cache file: those used last and those not used for longest."""
        having = f"{_HERE} AND file IS NOT NULL"
        return [*self._many(f"{having} ORDER BY used DESC LIMIT ?", (limit // 2,)),
                *self._many(f"{having} ORDER BY used LIMIT ?", (limit // 2,))]

    def partial(self) -> list[Content]:
        """Contents of which only a part is held."""
        return self._many("file IS NOT NULL AND whole = 0", ())

    def count_small(self) -> int:
        """How many contents the index holds itself."""
        row = self._connection.execute("SELECT count(*) FROM small").fetchone()
        return int(row[0])

    def broken_small(self) -> list[Content]:
        """Contents that the index says it holds itself, but of which it has not as many bytes."""
        return self._many(
            "file IS NULL AND held > 0 AND "
            "size IS NOT (SELECT length(small.bytes) FROM small WHERE small.content = content.id)", ())

    def recount(self) -> int:
        """Set the count of bytes that cache files hold from the rows; returns it."""
        row = self._connection.execute(
            "SELECT coalesce(sum(held), 0) FROM content WHERE file IS NOT NULL").fetchone()
        self._connection.execute("UPDATE counter SET value = ? WHERE name = 'cached_bytes'", (row[0],))
        return int(row[0])

    def _empty(self, row: Content) -> None:
        """Nothing of the content is here any more, so that nothing of it waits for a flush either."""
        self._uncount(row)
        self._connection.execute(
            f"UPDATE content SET file = NULL, {_EMPTIED}, flushed = 1, replaces = NULL WHERE id = ?", (row.id,))

    def _uncount(self, row: Content) -> None:
        """What is here of a content goes."""
        if row.file is not None:
            self._count(-row.held)
        elif row.held:
            self._connection.execute("DELETE FROM small WHERE content = ?", (row.id,))

    def _count(self, delta: int) -> None:
        self._connection.execute("UPDATE counter SET value = value + ? WHERE name = 'cached_bytes'", (delta,))

    def _many(self, where: str, values: tuple[object, ...]) -> list[Content]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM content WHERE {where}", values)
        return [_content(row) for row in rows]


def _content(row: tuple[int, int, str | None, int, int, float, int, int | None, int | None]) -> Content:
    return Content(row[0], row[1], row[2], bool(row[3]), row[4], row[5], bool(row[6]), row[7], row[8])
