"""SQL about writes to the store that are under way, in doubt, or lately ended; and the counters."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a write to the store does at the path."""

    WRITE = "write"
    """Makes or replaces a file."""
    CLEAR = "clear"
    """Removes what is there, or moves a file away."""
    MAKE = "make"
    """Makes a folder."""
    TREE_FROM = "tree_from"
    """Moves a folder away, with all below it."""
    TREE_TO = "tree_to"
    """Moves a folder there, with all below it."""


_TREES = (Kind.TREE_FROM, Kind.TREE_TO)


@dataclass(frozen=True, slots=True)
class Operation:
    """One path of the store that a write of ours touches. `path` is a store path."""

    id: int
    path: str
    kind: Kind
    node: int
    content: int | None
    """What is written there, by kind WRITE."""
    late: bool
    """The store was asked once and showed nothing of it."""


class Operations:
    """Operations as one connection sees them; the writing methods belong in a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def sequence(self) -> int:
        """A number that grows with every end of an operation; a listing notes it before it begins."""
        return self._counter("sequence")

    def begin(self, kind: Kind, path: str, node: int, content: int | None = None) -> int:
        """Note what is about to happen at `path`; returns the operation's id."""
        folder, _, name = path.rpartition("/")
        cursor = self._connection.execute(
            "INSERT INTO operation (folder, name, kind, tree, node, content) VALUES (?, ?, ?, ?, ?, ?)",
            (folder, name, kind.value, kind in _TREES, node, content))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def finish(self, operation: int, now: float) -> None:
        """The operation has ended and its effect is recorded, or it surely had none."""
        self._connection.execute("UPDATE counter SET value = value + 1 WHERE name = 'sequence'")
        self._connection.execute(
            "UPDATE operation SET ended = ?, late = 0, "
            "finished = (SELECT value FROM counter WHERE name = 'sequence') WHERE id = ?", (now, operation))

    def give_up(self, operation: int, now: float) -> None:
        """Nobody waits for the operation any more, but it may take effect yet: it is late, from the first time on."""
        since = self._connection.execute("SELECT ended FROM operation WHERE id = ?", (operation,)).fetchone()[0]
        self.finish(operation, now if since is None else since)
        self._connection.execute("UPDATE operation SET late = 1 WHERE id = ?", (operation,))

    def doubt_again(self, operation: int) -> None:
        """What the store shows may be the effect of a late operation."""
        self._connection.execute("UPDATE operation SET finished = NULL WHERE id = ?", (operation,))

    def late_on(self, path: str) -> list[Operation]:
        """Operations on exactly this path that were given up and may take effect yet, or did, the last first."""
        folder, _, name = path.rpartition("/")
        return self._many("folder = ? AND name = ? AND late = 1", (folder, name))[::-1]

    def late_below(self, path: str) -> list[Operation]:
        """The same for all that is below the path, in no order that counts."""
        return self._many("late = 1 AND (folder = ? OR (folder > ? AND folder < ?))",
                          (path, path + "/", path + "0"))

    def late_names(self, folder: str) -> set[str]:
        """Names in a store folder on or below which something may take effect yet."""
        rows = self._connection.execute(
            "SELECT folder, name FROM operation WHERE late = 1 AND (folder = ? OR (folder > ? AND folder < ?))",
            (folder, folder + "/", folder + "0"))
        return {name if above == folder else _first_below(folder, above) for above, name in rows}

    def may_come(self, path: str) -> bool:
        """Whether an operation on exactly this path was given up and may take effect yet, or did."""
        folder, _, name = path.rpartition("/")
        return self._connection.execute(
            "SELECT 1 FROM operation WHERE folder = ? AND name = ? AND late = 1 LIMIT 1",
            (folder, name)).fetchone() is not None

    def copy_late(self, source: str, target: str) -> None:
        """A folder was renamed in the store: what was given up below it may have come before that."""
        self._connection.execute(
            "INSERT INTO operation (folder, name, kind, tree, node, content, finished, ended, late) "
            "SELECT ? || substr(folder, ?), name, kind, tree, node, content, finished, ended, 1 FROM operation "
            "WHERE late = 1 AND finished IS NOT NULL AND (folder = ? OR (folder > ? AND folder < ?))",
            (target, len(source) + 1, source, source + "/", source + "0"))

    def late(self, before: float, limit: int) -> list[Operation]:
        """Up to `limit` operations that were given up before a time, may take effect yet and are not in doubt."""
        return self._many("late = 1 AND finished IS NOT NULL AND ended < ?", (before,), order="folder, name")[:limit]

    def forget_late(self, operation: int) -> None:
        """An operation that was given up does not take effect any more."""
        self._connection.execute("UPDATE operation SET late = 0 WHERE id = ?", (operation,))

    def open_on(self, path: str) -> list[Operation]:
        """Operations on exactly this path that are under way or in doubt."""
        folder, _, name = path.rpartition("/")
        return self._many("folder = ? AND name = ? AND finished IS NULL", (folder, name))

    def open_of(self, node: int) -> list[Operation]:
        """Operations of a node that are under way or in doubt."""
        return self._many("node = ? AND finished IS NULL", (node,))

    def open_near(self, path: str) -> list[Operation]:
        """Operations under way or in doubt on the path, below it, or on a tree that holds it."""
        folder, _, name = path.rpartition("/")
        found = self._many(
            "finished IS NULL AND ((folder = ? AND name = ?) OR folder = ? OR (folder > ? AND folder < ?))",
            (folder, name, path, path + "/", path + "0"))
        while folder:
            above, _, name = folder.rpartition("/")
            found += self._many("finished IS NULL AND tree = 1 AND folder = ? AND name = ?", (above, name))
            folder = above
        return found

    def open(self) -> list[Operation]:
        """All operations under way or in doubt."""
        return self._many("finished IS NULL", ())

    def unsettled_names(self, folder: str, since: int) -> set[str]:
        """Names in a store folder about which a listing that began at `since` says nothing."""
        rows = self._connection.execute(
            "SELECT name FROM operation WHERE folder = ? AND (finished IS NULL OR finished > ?)",
            (folder, since))
        return {row[0] for row in rows} | self._unsettled_below(folder, since)

    def _unsettled_below(self, folder: str, since: int) -> set[str]:
        """Names of folders with such an operation anywhere below: it may be what makes or unmakes the folder."""
        span = (folder + "/", folder + "0")
        below = {row[0] for row in self._connection.execute(
            "SELECT folder FROM operation WHERE finished IS NULL AND folder > ? AND folder < ?", span)}
        below |= {row[0] for row in self._connection.execute(
            "SELECT folder FROM operation WHERE finished > ? AND folder > ? AND folder < ?", (since, *span))}
        return {_first_below(folder, path) for path in below}

    def unsettled_above(self, folder: str, since: int) -> bool:
        """Whether an operation on a whole tree that holds this store folder ended after `since`, or has not."""
        while folder:
            above, _, name = folder.rpartition("/")
            if self._connection.execute(
                    "SELECT 1 FROM operation WHERE folder = ? AND name = ? AND tree = 1 "
                    "AND (finished IS NULL OR finished > ?) LIMIT 1", (above, name, since)).fetchone():
                return True
            folder = above
        return False

    def prune(self, before: float) -> None:
        """Forget operations that ended before a time and are not late; no listing may have begun before it."""
        self._connection.execute(
            "DELETE FROM operation WHERE finished IS NOT NULL AND late = 0 AND ended < ?", (before,))

    # -- counters and meta ----------------------------------------------------------------------

    def cached_bytes(self) -> int:
        """Bytes of cache files that count against the limit."""
        return self._counter("cached_bytes")

    def sync_requested(self) -> int:
        """Grows each time somebody asks that everything be carried to the store now."""
        return self._counter("sync_requested")

    def request_sync(self) -> None:
        """Ask that everything be carried to the store now."""
        self._connection.execute("UPDATE counter SET value = value + 1 WHERE name = 'sync_requested'")

    def add(self, name: str, amount: int) -> None:
        """Add to a counter, which begins at 0."""
        self._connection.execute(
            "INSERT INTO counter (name, value) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value", (name, amount))

    def counters(self) -> dict[str, int]:
        """All counters by name."""
        return dict(self._connection.execute("SELECT name, value FROM counter"))

    def meta(self, name: str) -> str | None:
        """A fact about the index as a whole."""
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Note a fact about the index as a whole."""
        self._connection.execute("DELETE FROM meta WHERE name = ?", (name,))
        self._connection.execute("INSERT INTO meta (name, value) VALUES (?, ?)", (name, value))

    def _counter(self, name: str) -> int:
        return int(self._connection.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()[0])

    def _many(self, where: str, values: tuple[object, ...], *, order: str = "id") -> list[Operation]:
        rows = self._connection.execute(
            f"SELECT id, folder, name, kind, node, content, late FROM operation WHERE {where} ORDER BY {order}",
            values)
        return [Operation(row[0], f"{row[1]}/{row[2]}", Kind(row[3]), row[4], row[5], row[6] == 1) for row in rows]


def _first_below(folder: str, path: str) -> str:
    """The name in the folder that leads to a path below it."""
    return path[len(folder) + 1:].partition("/")[0]
