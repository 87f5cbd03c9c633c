"""SQL that settles in one statement what is at a path, and whether all that it depends on is known."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import Any, NamedTuple

from davfusion.cache.index.record import COLUMNS, Record
from davfusion.cache.node import ROOT_ID

DEEPEST = 30
"""Names in the longest path that is looked up in one statement: each is a table of a join, which has 64 at most."""

_OF_FOLDER = 4
"""Columns that tell of the folders above; they come first."""


class Row(NamedTuple):
    """What one statement found at a path. Rows that are equal say the same."""

    found: tuple[Any, ...]

    @property
    def settled(self) -> bool:
        """The folder is one, and the members of all folders above it are known or nowhere but here."""
        return bool(self.found[0] and self.found[1])

    @property
    def folder_is_synced(self) -> bool:
        """The store is known to hold the folder."""
        return bool(self.found[2])

    @property
    def folder_listed(self) -> float:
        """When the last complete listing of the folder began, seconds since the epoch; 0 or less: it must be listed."""
        return self.found[3] or 0.0

    @property
    def record(self) -> Record | None:
        """The node; None where the folder has no such member."""
        return None if self.found[_OF_FOLDER] is None else Record.of(self.found[_OF_FOLDER:])


class Paths:
    """Look-ups of whole paths as one connection sees them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def look_up(self, path: str) -> Row | None:
        """What is at a local path other than the root; None where its folder is not there, or the path is long."""
        names = path.split("/")[1:]
        if len(names) > DEEPEST:
            return None
        row = self._connection.execute(_statement(len(names)), names).fetchone()
        return None if row is None else Row(row)


@lru_cache(maxsize=DEEPEST)
def _statement(depth: int) -> str:
    """The look-up of paths of this many names; the order of the joins is the order of the names."""
    last = depth - 1
    known = " AND ".join(f"(f{each}.synced_name IS NULL OR coalesce(f{each}.listed, 0) > 0)" for each in range(last))
    folders = "".join(
        f" CROSS JOIN node f{each} ON f{each}.parent = f{each - 1}.id AND f{each}.name = ?" for each in range(1, depth))
    return (f"SELECT f{last}.folder, {known or 1}, f{last}.synced_name IS NOT NULL, f{last}.listed, {COLUMNS} "
            f"FROM node f0{folders} LEFT JOIN node n ON n.parent = f{last}.id AND n.name = ? "
            f"LEFT JOIN content c ON c.id = n.content WHERE f0.id = {ROOT_ID}")
