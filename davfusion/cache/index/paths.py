"""SQL that settles in one statement what is at a path, and whether all that it depends on is known."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import NamedTuple

from davfusion.cache.node import ROOT_ID

DEEPEST = 30
"""Names in the longest path that is looked up in one statement: each is a table of a join, which has 64 at most."""


class Sight(NamedTuple):
    """What one statement saw at a path. Sights that are equal say the same."""

    in_folder: int
    """Whether what holds it is a folder."""
    known_above: int
    """Whether all folders above that one know their members, or are nowhere but here."""
    folder_is_synced: int
    """Whether the store is known to hold the folder."""
    folder_listed: float | None
    """When the last complete listing of the folder began, seconds since the epoch; None, 0 and less: list it."""
    id: int | None
    """None where the folder has no such member; what follows is None then too."""
    is_folder: int
    content: int | None
    modified: float
    created: float
    media_type: str | None
    dirty: int
    size: int | None


class Member(NamedTuple):
    """A member of a folder, as far as clients see it."""

    name: str
    id: int
    is_folder: int
    content: int | None
    modified: float
    created: float
    media_type: str | None
    dirty: int
    size: int | None


class Paths:
    """Look-ups of whole paths, and of whole folders, as one connection sees them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def look_up(self, path: str) -> Sight | None:
        """What is at a local path other than the root; None where its folder is not there, or the path is long."""
        names = path.split("/")[1:]
        if len(names) > DEEPEST:
            return None
        row = self._connection.execute(_statement(len(names)), names).fetchone()
        return None if row is None else Sight(*row)

    def members(self, folder: int) -> list[Member]:
        """The members of a folder, by name."""
        rows = self._connection.execute(
            "SELECT n.name, n.id, n.folder, n.content, n.modified, n.created, n.media_type, n.dirty, c.size "
            "FROM node n LEFT JOIN content c ON c.id = n.content WHERE n.parent = ? ORDER BY n.name", (folder,))
        return list(map(Member._make, rows))


@lru_cache(maxsize=DEEPEST)
def _statement(depth: int) -> str:
    """The look-up of paths of this many names; the order of the joins is the order of the names."""
    last = depth - 1
    known = " AND ".join(f"(f{each}.synced_name IS NULL OR coalesce(f{each}.listed, 0) > 0)" for each in range(last))
    folders = "".join(
        f" CROSS JOIN node f{each} ON f{each}.parent = f{each - 1}.id AND f{each}.name = ?" for each in range(1, depth))
    return (f"SELECT f{last}.folder, {known or 1}, f{last}.synced_name IS NOT NULL, f{last}.listed, "
            "n.id, n.folder, n.content, n.modified, n.created, n.media_type, n.dirty, c.size "
            f"FROM node f0{folders} LEFT JOIN node n ON n.parent = f{last}.id AND n.name = ? "
            f"LEFT JOIN content c ON c.id = n.content WHERE f0.id = {ROOT_ID}")
