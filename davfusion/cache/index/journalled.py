"""SQL about what the journal of a chunked share says of the nodes, and what it does not say yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from davfusion.cache.index.record import COLUMNS, FROM, Record

SHOWN = 1000
"""Files at most that are shown with a problem that concerns all of them."""


class JournalledNode(NamedTuple):
    """A node as the journal has it; times in seconds since the epoch."""

    node: int
    parent: int
    name: str
    is_folder: bool
    content: int | None
    modified: float
    created: float
    media_type: str | None


_JOURNALLED = ("id, synced_parent, synced_name, folder, synced_content, coalesce(synced_modified, modified), created, "
               "media_type")


class Journalled:
    """The journal's side of the nodes as one connection sees it; the writing methods belong in a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def differing(self) -> Iterator[Record]:
        """All nodes, in the local tree or not, of which the journal says something else; parked ones too."""
        rows = self._connection.execute(f"SELECT {COLUMNS} {FROM} WHERE n.dirty = 1 ORDER BY n.id")
        return (Record.of(row) for row in rows)

    def properties_of_differing(self) -> dict[int, dict[str, bytes]]:
        """The dead properties of the same nodes, by node id."""
        found: dict[int, dict[str, bytes]] = {}
        for node, name, xml in self._connection.execute(
                "SELECT p.node, p.name, p.xml FROM property p JOIN node n ON n.id = p.node WHERE n.dirty = 1"):
            found.setdefault(node, {})[name] = bytes(xml)
        return found

    def modified(self, node: int) -> float | None:
        """The time of change that the journal has of a node."""
        row = self._connection.execute(
            "SELECT coalesce(synced_modified, modified) FROM node WHERE id = ?", (node,)).fetchone()
        return None if row is None else float(row[0])

    def all(self) -> Iterator[JournalledNode]:
        """All nodes that the journal has, by id; some may lie below a folder that it has no more."""
        return (JournalledNode(row[0], row[1] or 0, row[2], bool(row[3]), *row[4:]) for row in self._connection.execute(
            f"SELECT {_JOURNALLED} FROM node WHERE synced_name IS NOT NULL ORDER BY id"))

    def all_properties(self) -> Iterator[tuple[int, str, bytes]]:
        """Node id, Clark name and XML of the dead properties of all nodes that the journal has, by node id."""
        return iter(self._connection.execute(
            "SELECT p.node, p.name, p.xml FROM property p JOIN node n ON n.id = p.node "
            "WHERE n.synced_name IS NOT NULL ORDER BY p.node, p.name"))

    def note(self, node: JournalledNode) -> None:
        """The journal has the node like this. What is known of failures is over, unless its content still waits."""
        self._connection.execute(
            "UPDATE node SET synced_parent = ?1, synced_folder = ?2, synced_name = ?3, synced_content = ?4, "
            "synced_modified = ?5, confirmed = 1, waiting = NULL, "
            "attempts = CASE WHEN content IS NOT DISTINCT FROM ?4 THEN 0 ELSE attempts END, "
            "problem = CASE WHEN content IS NOT DISTINCT FROM ?4 THEN NULL ELSE problem END WHERE id = ?6",
            (node.parent, place_key(node.node), node.name, node.content, node.modified, node.node))

    def note_unknown(self, node: JournalledNode, now: float) -> None:
        """The journal has a node that left the local tree for good meanwhile: a row for it, so that it is removed."""
        self._connection.execute(
            "INSERT INTO node (id, folder, modified, created, media_type, synced_parent, synced_folder, synced_name, "
            "synced_content, synced_modified, confirmed, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)",
            (node.node, node.is_folder, node.modified, node.created, node.media_type, node.parent,
             place_key(node.node), node.name, node.content, node.modified, now))

    def settle(self, node: int) -> None:
        """The journal has the times and properties of a node as they are here."""
        self._connection.execute("UPDATE node SET scattered = 0 WHERE id = ?", (node,))

    def note_removed(self, node: int) -> None:
        """The journal does not have the node any more, nor what lay below it."""
        self._connection.execute(
            "UPDATE node SET synced_parent = NULL, synced_folder = NULL, synced_name = NULL, synced_content = NULL, "
            "synced_modified = NULL, confirmed = 0 WHERE id = ?", (node,))

    def note_problem(self, problem: str) -> None:
        """Why nothing can be written to the store at all, for people: shown with the files that have waited longest."""
        self._connection.execute(
            "UPDATE node SET problem = ? WHERE id IN (SELECT id FROM node WHERE dirty = 1 AND parked = 0 "
            "ORDER BY due LIMIT ?) AND attempts = 0", (problem, SHOWN))

    def clear_problems(self) -> None:
        """What `note_problem` noted is over."""
        self._connection.execute(
            "UPDATE node SET problem = NULL WHERE dirty = 1 AND attempts = 0 AND problem IS NOT NULL")

    def no_later(self, latest: float) -> None:
        """Nothing waits beyond a time, whatever the clock said when it was saved."""
        self._connection.execute(
            "UPDATE node SET due = ? WHERE dirty = 1 AND parked = 0 AND due > ?", (latest, latest))

    def folders(self) -> Iterator[tuple[int, int]]:
        """The folders that the journal has, each with the one that it is in there."""
        return iter(self._connection.execute(
            "SELECT id, coalesce(synced_parent, 0) FROM node WHERE synced_name IS NOT NULL AND folder = 1"))

    def vanished(self, limit: int) -> list[int]:
        """Nodes that are in neither tree any more."""
        return [row[0] for row in self._connection.execute(
            "SELECT id FROM node WHERE dirty = 1 AND parent IS NULL AND synced_name IS NULL AND id <> 1 LIMIT ?",
            (limit,))]

    def restore(self, node: JournalledNode, now: float) -> None:
        """A node as the journal has it, into an index that does not know it."""
        self._connection.execute(
            "INSERT INTO node (id, folder, parent, name, content, modified, created, media_type, listed, "
            "synced_parent, synced_folder, synced_name, synced_content, synced_modified, confirmed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            (node.node, node.is_folder, node.parent, node.name, node.content, node.modified, node.created,
             node.media_type, now if node.is_folder else None, node.parent, place_key(node.node), node.name,
             node.content, node.modified))

    def restore_content(self, content: int, size: int, now: float) -> None:
        """A content that lies in the store only."""
        self._connection.execute(
            "INSERT INTO content (id, size, whole, used) VALUES (?, ?, ?, ?)", (content, size, size == 0, now))


def place_key(node: int) -> str:
    """What stands for the store folder of a node that has no object of its own: something no other node has."""
    return f"#{node}"
