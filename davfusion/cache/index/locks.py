"""SQL about locks and dead properties, which hang on nodes: properties follow a rename, locks do not."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from davfusion.cache.node import PropertyChange


@dataclass(frozen=True, slots=True)
class LockRow:
    """A lock as it is stored, by node."""

    token: str
    node: int
    exclusive: bool
    infinite: bool
    owner: bytes
    principal: str
    timeout: float
    expires: float


_COLUMNS = "token, node, exclusive, infinite, owner, principal, timeout, expires"


class Locks:
    """Locks as one connection sees them; expired ones are not seen. Times in seconds since the epoch."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.made = 0
        """Locks that were inserted here, also those of changes that were rolled back."""

    def any(self, now: float) -> bool:
        """Whether there is any lock at all."""
        return self._connection.execute(
            "SELECT 1 FROM lock WHERE expires > ? LIMIT 1", (now,)).fetchone() is not None

    def all(self, now: float) -> list[LockRow]:
        """Every lock of the share."""
        return self._many("expires > ?", (now,))

    def on(self, node: int, now: float) -> list[LockRow]:
        """Locks whose root is this node."""
        return self._many("node = ? AND expires > ?", (node, now))

    def get(self, token: str, now: float) -> LockRow | None:
        """The lock with this token."""
        found = self._many("token = ? AND expires > ?", (token, now))
        return found[0] if found else None

    def insert(self, lock: LockRow) -> None:
        """A new lock; expired ones go on the occasion."""
        self.made += 1
        self._connection.execute("DELETE FROM lock WHERE expires <= ?", (lock.expires - lock.timeout,))
        self._connection.execute(
            f"INSERT INTO lock ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (lock.token, lock.node, lock.exclusive, lock.infinite, lock.owner, lock.principal,
             lock.timeout, lock.expires))

    def extend_live(self, token: str, timeout: float, now: float) -> None:
        """Refresh a lock, unless it has expired."""
        self._connection.execute(
            "UPDATE lock SET timeout = ?, expires = ? WHERE token = ? AND expires > ?",
            (timeout, now + timeout, token, now))

    def remove(self, token: str) -> int | None:
        """Remove a lock; returns the node it was on, None if it was gone."""
        row = self._connection.execute("SELECT node FROM lock WHERE token = ?", (token,)).fetchone()
        self._connection.execute("DELETE FROM lock WHERE token = ?", (token,))
        return None if row is None else row[0]

    def remove_on(self, node: int) -> None:
        """Remove the locks whose root is this node."""
        self._connection.execute("DELETE FROM lock WHERE node = ?", (node,))

    def _many(self, where: str, values: tuple[object, ...]) -> list[LockRow]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM lock WHERE {where}", values)
        return [LockRow(row[0], row[1], bool(row[2]), bool(row[3]), bytes(row[4]), *row[5:]) for row in rows]


class Properties:
    """Dead properties as one connection sees them; names in Clark notation, values as element XML."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def of(self, node: int) -> dict[str, bytes]:
        """The properties of a node."""
        rows = self._connection.execute("SELECT name, xml FROM property WHERE node = ?", (node,))
        return {row[0]: bytes(row[1]) for row in rows}

    def of_children(self, parent: int) -> dict[int, dict[str, bytes]]:
        """The properties of all local children that have any, by node id."""
        found: dict[int, dict[str, bytes]] = {}
        for node, name, xml in self._connection.execute(
                "SELECT p.node, p.name, p.xml FROM property p JOIN node n ON n.id = p.node WHERE n.parent = ?",
                (parent,)):
            found.setdefault(node, {})[name] = bytes(xml)
        return found

    def change(self, node: int, changes: Sequence[PropertyChange]) -> None:
        """Set and remove, in order."""
        for change in changes:
            self._connection.execute("DELETE FROM property WHERE node = ? AND name = ?", (node, change.name))
            if change.xml is not None:
                self._connection.execute(
                    "INSERT INTO property (node, name, xml) VALUES (?, ?, ?)", (node, change.name, change.xml))

    def copy(self, source: int, target: int) -> None:
        """Give `target` the properties of `source`."""
        self._connection.execute("DELETE FROM property WHERE node = ?", (target,))
        self._connection.execute(
            "INSERT INTO property (node, name, xml) SELECT ?, name, xml FROM property WHERE node = ?",
            (target, source))
