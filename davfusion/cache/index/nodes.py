"""SQL about nodes: looking up, walking and changing the two trees."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from davfusion.cache.index.inserting import insert_rows
from davfusion.cache.index.record import COLUMNS, FROM, NewFile, Record, SavedAgain, Spot, Standing
from davfusion.cache.node import ROOT_ID

BATCH = 500
"""Rows that a walk reads at a time."""
LONGEST_CHAIN = 6
"""Names that one query looks up, each in the folder before."""


class Nodes:
    """Nodes as one connection sees them; the writing methods belong in a transaction.

    Local paths begin with `/`. A store folder is a store path without its last `/`: empty for the root.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[str, list[Record]] | None = None
        self._known_at = 0

    def keep_chains(self) -> None:
        """Look each path up once as long as nothing is changed: for use within one transaction only."""
        self._known = {}
        self._known_at = self._connection.total_changes

    # -- the local tree -------------------------------------------------------------------------

    def get(self, node: int) -> Record | None:
        """The node with this id, in the local tree or not."""
        return self._one("n.id = ?", (node,))

    def child(self, parent: int, name: str) -> Record | None:
        """The local child of that name."""
        return self._one("n.parent = ? AND n.name = ?", (parent, name))

    def chain(self, path: str) -> list[Record]:
        """The nodes from the root down to `path`, as far as they exist."""
        if self._known is None:
            return self._chain(path)
        if self._known_at != self._connection.total_changes:
            self._known.clear()
            self._known_at = self._connection.total_changes
        if path not in self._known:
            self._known[path] = self._chain(path)
        return self._known[path]

    def spots(self, paths: Sequence[str]) -> list[Spot]:
        """Where paths other than the root point to. What one folder holds is looked up together."""
        if len(paths) == 1:
            return [self._spot(paths[0])]
        names: dict[str, list[str]] = {}
        for path in paths:
            folder, _, name = path.rpartition("/")
            names.setdefault(folder, []).append(name)
        found: dict[str, Spot] = {}
        for folder, wanted in names.items():
            above = self.chain(folder or "/")
            complete = len(above) == folder.count("/") + 1
            standing = self._standing(above[-1].id, wanted) if complete else {}
            for name in wanted:
                found[f"{folder}/{name}"] = Spot(above, complete, name, standing.get(name))
        return [found[path] for path in paths]

    def _spot(self, path: str) -> Spot:
        chain, depth = self.chain(path), path.count("/")
        return Spot(chain[:depth], len(chain) >= depth, path.rpartition("/")[2],
                    Standing.of(chain[depth]) if len(chain) > depth else None)

    def _standing(self, parent: int, names: list[str]) -> dict[str, Standing]:
        """Those of the local children that have one of these names, by it."""
        size = 1 << (len(names) - 1).bit_length()  # so that there are few statements to be prepared
        rows = self._connection.execute(_standing_query(size), (parent, *names, *names[-1:] * (size - len(names))))
        return {row[-1]: Standing(row[0], row[1] == 1, row[2], row[3], row[4] == 1, row[5], row[6], row[7])
                for row in rows}

    def _chain(self, path: str) -> list[Record]:
        names = path.split("/")[1:] if path != "/" else []
        found = self._below(ROOT_ID, names[:LONGEST_CHAIN], "n.id = ?1")
        for start in range(LONGEST_CHAIN, len(names), LONGEST_CHAIN):
            if len(found) <= start:
                break
            found += self._below(found[-1].id, names[start:start + LONGEST_CHAIN], "0")
        return found

    def _below(self, node: int, names: list[str], first: str) -> list[Record]:
        """What the condition `first` selects and the nodes with these names, each in the one before."""
        rows = self._connection.execute(_chain_query(len(names), first), (node, *names))
        return [Record.of(row[1:]) for row in sorted(rows)]

    def resolve(self, path: str) -> Record | None:
        """The node at a local path."""
        parts = path.split("/")[1:] if path != "/" else []
        chain = self.chain(path)
        return chain[-1] if len(chain) == len(parts) + 1 else None

    def children(self, parent: int) -> list[Record]:
        """All local children, by name."""
        return self._many("n.parent = ? ORDER BY n.name", (parent,))

    def subfolders(self, parent: int) -> list[int]:
        """The ids of the local children that are folders."""
        rows = self._connection.execute("SELECT id FROM node WHERE parent = ? AND folder = 1", (parent,))
        return [row[0] for row in rows]

    def children_after(self, parent: int, name: str, limit: int = BATCH) -> list[Record]:
        """Up to `limit` local children whose names follow `name`, by name."""
        return self._many("n.parent = ? AND n.name > ? ORDER BY n.name LIMIT ?", (parent, name, limit))

    def has_children(self, parent: int) -> bool:
        """Whether any node has this local parent."""
        return self._exists("SELECT 1 FROM node WHERE parent = ? LIMIT 1", (parent,))

    def path(self, node: int) -> str | None:
        """The local path of a node, or None if it or a folder above it is not in the local tree."""
        names: list[str] = []
        current = node
        while current != ROOT_ID:
            row = self._connection.execute("SELECT parent, name FROM node WHERE id = ?", (current,)).fetchone()
            if row is None or row[0] is None:
                return None
            names.append(row[1])
            current = row[0]
        return "/" + "/".join(reversed(names))

    def ancestors(self, node: int) -> list[int]:
        """The ids of the folders above a node, nearest first, up to where the chain ends."""
        found: list[int] = []
        current = node
        while current != ROOT_ID:
            row = self._connection.execute("SELECT parent FROM node WHERE id = ?", (current,)).fetchone()
            if row is None or row[0] is None:
                break
            current = row[0]
            found.append(current)
        return found

    def subtree(self, node: int) -> Iterator[tuple[Record, str]]:
        """The local descendants with their paths relative to `node` (`/a`, `/a/b`), parents first.

        Reads in batches; a change made meanwhile may or may not be seen.
        """
        pending: list[tuple[int, str]] = [(node, "")]
        while pending:
            folder, prefix = pending.pop()
            after = ""
            while batch := self.children_after(folder, after):
                for record in batch:
                    path = f"{prefix}/{record.local_name}"
                    if record.is_folder:
                        pending.append((record.id, path))
                    yield record, path
                after = batch[-1].local_name or ""

    def totals(self) -> tuple[int, int]:
        """How many files the local tree has, and their bytes."""
        row = self._connection.execute(
            "SELECT count(*), coalesce(sum(c.size), 0) FROM node n JOIN content c ON c.id = n.content "
            "WHERE n.parent IS NOT NULL").fetchone()
        return int(row[0]), int(row[1])

    # -- the synced tree ------------------------------------------------------------------------

    def at_store(self, folder: str, name: str) -> Record | None:
        """The node that the store is known to hold under this name."""
        return self._one("n.synced_folder = ? AND n.synced_name = ?", (folder, name))

    def in_store_folder(self, folder: str) -> list[Record]:
        """All nodes that the store is known to hold directly in the folder."""
        return self._many("n.synced_folder = ?", (folder,))

    def seen_in_store_folder(self, folder: str) -> dict[str, tuple[bool, str | None] | None]:
        """What the store is known to hold directly in the folder: by name whether it is a folder, and the version.

        None for what the store itself has not surely shown since it was written; of a folder the version is None.
        """
        rows = self._connection.execute(
            "SELECT synced_name, folder, synced_version, confirmed FROM node "
            "WHERE synced_folder = ? AND synced_name <> ''", (folder,))
        return {name: (bool(is_folder), None if is_folder else version) if confirmed else None
                for name, is_folder, version, confirmed in rows}

    def any_in_store_folder(self, folder: str, other_than: int = 0) -> bool:
        """Whether the store is known to hold anything directly in the folder, except one node."""
        return self._exists(
            "SELECT 1 FROM node WHERE synced_folder = ? AND id <> ? LIMIT 1", (folder, other_than))

    def any_below_store(self, folder: str) -> bool:
        """Whether the store is known to hold anything in or below the folder."""
        return self._exists(
            "SELECT 1 FROM node WHERE synced_folder = ? OR (synced_folder > ? AND synced_folder < ?) LIMIT 1",
            (folder, folder + "/", folder + "0"))

    def is_held_in_store(self, folder: str, other_than: int = 0) -> bool:
        """Whether an object of any node but one makes the store folder, and nobody is about to take it away.

        A folder that was never listed counts: something of others is in it.
        """
        return self._exists(
            "SELECT 1 FROM node n WHERE (n.synced_folder = ? OR (n.synced_folder > ? AND n.synced_folder < ?)) "
            "AND n.id <> ? AND (n.folder = 0 OR n.synced_version = 'marker' OR n.listed IS NULL) "
            "AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.folder = n.synced_folder AND o.name = n.synced_name "
            "AND o.finished IS NULL AND o.kind IN ('clear', 'tree_from')) LIMIT 1",
            (folder, folder + "/", folder + "0", other_than))

    def below_store(self, folder: str, limit: int) -> list[Record]:
        """Up to `limit` nodes that the store is known to hold in or below the folder."""
        return self._many(
            "n.synced_folder = ? OR (n.synced_folder > ? AND n.synced_folder < ?) LIMIT ?",
            (folder, folder + "/", folder + "0", limit))

    def holders(self, content: int) -> list[Record]:
        """The nodes whose objects in the store hold this content."""
        return self._many("n.synced_content = ?", (content,))

    def users(self, content: int) -> list[Record]:
        """The nodes of the local tree that have this content."""
        return self._many("n.content = ?", (content,))

    def unsynced_users(self, content: int) -> list[int]:
        """Ids of the local nodes that have this content but whose own object does not hold it yet."""
        rows = self._connection.execute(
            "SELECT id FROM node WHERE content = ? AND synced_content IS DISTINCT FROM content", (content,))
        return [row[0] for row in rows]

    def unconfirmed_folders(self, before: float, limit: int) -> list[str]:
        """Store folders with files that we wrote and that no listing has shown yet, but could."""
        rows = self._connection.execute(
            "SELECT DISTINCT n.synced_folder FROM node n WHERE n.confirmed = 0 AND n.synced_content IS NOT NULL "
            "AND n.due < ? AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.folder = n.synced_folder "
            "AND o.name = n.synced_name AND o.late = 1) LIMIT ?", (before, limit))
        return [row[0] for row in rows]

    def needless_markers(self, limit: int) -> list[Record]:
        """Folders in place that have a marker, or may have one, although something else is in them."""
        return self._many(
            "n.folder = 1 AND n.synced_version IN ('marker', 'marker in doubt') AND n.parent IS NOT NULL "
            "AND EXISTS (SELECT 1 FROM node m "
            "WHERE m.synced_parent = n.id AND m.parent = n.id AND m.confirmed = 1 AND m.dirty = 0 "
            "AND m.synced_folder = n.synced_folder || '/' || n.synced_name) LIMIT ?", (limit,))

    # -- what waits -----------------------------------------------------------------------------

    def due(self, now: float, limit: int) -> list[Record]:
        """Dirty nodes whose time has come, longest due first."""
        return self._many(
            "n.dirty = 1 AND n.parked = 0 AND n.due <= ? ORDER BY n.due LIMIT ?", (now, limit))

    def due_ids(self, now: float, limit: int) -> list[int]:
        """The same nodes as `due`, by their ids alone, which costs little however many there are."""
        rows = self._connection.execute(
            "SELECT id FROM node WHERE dirty = 1 AND parked = 0 AND due <= ? ORDER BY due LIMIT ?", (now, limit))
        return [row[0] for row in rows]

    def due_at(self, node: int) -> float | None:
        """When a node is due, if it is dirty."""
        row = self._connection.execute("SELECT due FROM node WHERE id = ? AND dirty = 1", (node,)).fetchone()
        return None if row is None else row[0]

    def next_due(self) -> float | None:
        """When the next dirty node is due."""
        row = self._connection.execute("SELECT min(due) FROM node WHERE dirty = 1 AND parked = 0").fetchone()
        return None if row is None else row[0]

    def count_dirty(self) -> tuple[int, int]:
        """How many dirty nodes wait, and how many are parked."""
        waiting, parked = 0, 0
        for state, count in self._connection.execute(
                "SELECT parked, count(*) FROM node WHERE dirty = 1 GROUP BY parked"):
            if state:
                parked = count
            else:
                waiting = count
        return waiting, parked

    def dirty(self, limit: int) -> list[Record]:
        """Dirty nodes, parked ones too, longest due first."""
        return self._many("n.dirty = 1 ORDER BY n.parked, n.due LIMIT ?", (limit,))

    def dirty_bytes(self) -> int:
        """Bytes of the contents that are not in the store yet."""
        row = self._connection.execute(
            "SELECT coalesce(sum(c.size), 0) FROM node n JOIN content c ON c.id = n.content "
            "WHERE n.dirty = 1 AND n.content IS DISTINCT FROM n.synced_content").fetchone()
        return int(row[0])

    # -- changing -------------------------------------------------------------------------------

    def insert(self, **columns: Any) -> int:
        """A new node; returns its id."""
        cursor = self._connection.execute(_insert_of(*columns), tuple(columns.values()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def insert_files(self, rows: Sequence[NewFile]) -> range:
        """New files, one at least, that the store has nothing of; returns their ids, in the same order."""
        return insert_rows(self._connection, f"node (folder, {', '.join(NewFile._fields)})",
                           "(0, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def save_files(self, rows: Sequence[SavedAgain]) -> None:
        """Files get other contents, which gives those that had failed a new start."""
        self._connection.executemany(
            "UPDATE node SET content = ?, modified = ?, media_type = ?, due = ?, waiting = ?, "
            "attempts = 0, problem = NULL, parked = 0 WHERE id = ?", rows)

    def copy(self, node: int, *, parent: int, name: str, now: float, due: float, infinite: bool) -> None:
        """Copy a local node, with all below it if `infinite`, as new ones; contents are shared, properties copied."""
        connection = self._connection
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS copied (old INTEGER PRIMARY KEY, new INTEGER)")
        connection.execute("DELETE FROM temp.copied")
        connection.execute(
            "WITH RECURSIVE below (id) AS (VALUES (?) UNION ALL "
            "SELECT n.id FROM below b JOIN node n ON n.parent = b.id WHERE ?) "
            "INSERT INTO temp.copied (old, new) SELECT id, ? + row_number() OVER () FROM below",
            (node, infinite, self.last_id()))
        connection.execute(
            "INSERT INTO node (id, folder, parent, name, content, modified, created, media_type, listed, due) "
            "SELECT c.new, n.folder, CASE WHEN n.id = ?1 THEN ?2 ELSE p.new END, "
            "CASE WHEN n.id = ?1 THEN ?3 ELSE n.name END, n.content, n.modified, ?4, n.media_type, "
            "CASE WHEN n.folder THEN ?4 END, ?5 "
            "FROM temp.copied c JOIN node n ON n.id = c.old LEFT JOIN temp.copied p ON p.old = n.parent",
            (node, parent, name, now, due))
        connection.execute(
            "INSERT INTO property (node, name, xml) "
            "SELECT c.new, p.name, p.xml FROM temp.copied c JOIN property p ON p.node = c.old")
        connection.execute("DELETE FROM temp.copied")

    def last_id(self) -> int:
        """The highest id ever given; the next is one more."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'node'").fetchone()
        return int(row[0])

    def update(self, node: int, **columns: Any) -> None:
        """Set columns of one node."""
        self._connection.execute(_update_of(*columns), (*columns.values(), node))

    def relist(self, node: int) -> None:
        """What is known of a folder's members is out of date; a folder that was never listed stays so.

        Each such wish leaves another number, 0 or below, so that a listing under way does not fulfil a later one.
        """
        self._connection.execute(
            "UPDATE node SET listed = CASE WHEN listed > 0 THEN 0 ELSE listed - 1 END "
            "WHERE id = ? AND listed IS NOT NULL", (node,))

    def remove(self, node: int) -> None:
        """Remove a row with its properties and locks. Its children must be gone or moved before."""
        self._connection.execute("DELETE FROM property WHERE node = ?", (node,))
        self._connection.execute("DELETE FROM lock WHERE node = ?", (node,))
        self._connection.execute("DELETE FROM node WHERE id = ?", (node,))

    def move_synced_tree(self, source: str, target: str) -> None:
        """Rewrite the synced side of everything below a store folder that the store has renamed."""
        self._connection.execute(
            "UPDATE node SET synced_folder = ? || substr(synced_folder, ?) "
            "WHERE synced_folder = ? OR (synced_folder > ? AND synced_folder < ?)",
            (target, len(source) + 1, source, source + "/", source + "0"))

    def forget_synced_below(self, folder: str) -> list[Record]:
        """The nodes in and below a store folder; their synced side is cleared."""
        records = self.below_store(folder, -1)
        self._connection.executemany(
            "UPDATE node SET synced_parent = NULL, synced_folder = NULL, synced_name = NULL, "
            "synced_content = NULL, synced_version = NULL, confirmed = 0 WHERE id = ?",
            [(record.id,) for record in records])
        return records

    def hasten(self, now: float) -> None:
        """Let everything dirty that is not parked be due."""
        self._connection.execute(
            "UPDATE node SET due = ? WHERE dirty = 1 AND parked = 0 AND due > ?", (now, now))

    def hasten_failed(self, now: float) -> None:
        """Let what failed while the store was down be due again."""
        self._connection.execute(
            "UPDATE node SET due = ? WHERE dirty = 1 AND parked = 0 AND attempts > 0 AND due > ?", (now, now))

    def unpark_all(self, now: float) -> int:
        """Try parked nodes again; returns how many there were."""
        return self._connection.execute(
            "UPDATE node SET parked = 0, attempts = 0, due = ? WHERE parked = 1", (now,)).rowcount

    # -- reading rows ---------------------------------------------------------------------------

    def _one(self, where: str, values: tuple[Any, ...]) -> Record | None:
        row = self._connection.execute(f"SELECT {COLUMNS} {FROM} WHERE {where}", values).fetchone()
        return None if row is None else Record.of(row)

    def _many(self, where: str, values: tuple[Any, ...]) -> list[Record]:
        rows = self._connection.execute(f"SELECT {COLUMNS} {FROM} WHERE {where}", values)
        return [Record.of(row) for row in rows]

    def _exists(self, query: str, values: tuple[Any, ...]) -> bool:
        return self._connection.execute(query, values).fetchone() is not None


@lru_cache(maxsize=64)
def _insert_of(*columns: str) -> str:
    return f"INSERT INTO node ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


@lru_cache(maxsize=64)
def _update_of(*columns: str) -> str:
    return f"UPDATE node SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?"


@lru_cache(maxsize=64)
def _standing_query(size: int) -> str:
    return ("SELECT id, folder, content, created, dirty, due, waiting, attempts, name FROM node "
            f"WHERE parent = ? AND name IN ({', '.join('?' * size)})")


@lru_cache(maxsize=4 * LONGEST_CHAIN)
def _chain_query(length: int, first: str) -> str:
    """Selects, numbered in their order, what `first` says and a node for each of `length` names below node ?1."""
    selects, above = [f"SELECT 0, {COLUMNS} {FROM} WHERE {first}"], "?1"
    for number in range(1, length + 1):
        selects.append(f"SELECT {number}, {COLUMNS} {FROM} WHERE n.parent = {above} AND n.name = ?{number + 1}")
        above = f"(SELECT id FROM node WHERE parent = {above} AND name = ?{number + 1})"
    return " UNION ALL ".join(selects)
