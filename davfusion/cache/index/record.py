"""A row of the node table: both trees as the index holds them."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from davfusion.cache.index.contents import Content

COLUMNS = (
    "n.id, n.folder, n.parent, n.name, n.content, n.modified, n.created, n.media_type, n.synced_parent, "
    "n.synced_folder, n.synced_name, n.synced_content, n.synced_version, n.replaced, n.confirmed, n.listed, "
    "n.scattered, n.due, n.waiting, n.attempts, n.problem, n.parked, n.dirty, c.size, c.whole")
"""What `Record.of` reads; `n` is the node, `c` its content."""

FROM = "FROM node n LEFT JOIN content c ON c.id = n.content"


class Record(NamedTuple):
    """One node with its local side, its synced side and the state of its synchronisation.

    A tuple, because a listing of a large folder makes one for each of its members.
    """

    id: int
    is_folder: bool
    parent: int | None
    """None for the root, and for a node that is not in the local tree any more."""
    local_name: str | None
    content: int | None
    modified: float
    created: float
    media_type: str | None
    synced_parent: int | None
    synced_folder: str | None
    """Store path of the folder that holds the object; empty for the store's root."""
    synced_name: str | None
    synced_content: int | None
    synced_version: str | None
    replaced: str | None
    confirmed: bool
    listed: float | None
    scattered: bool
    """Plain: of a folder, objects below it may lie elsewhere than the tree says. Chunked: times or properties
    changed and the journal may not say so yet."""
    due: float
    waiting: float | None
    """Of a dirty file: when it was saved first since the store had a version of it, if that is known."""
    attempts: int
    problem: str | None
    parked: bool
    dirty: bool
    size: int
    whole: bool

    @classmethod
    def of(cls, row: tuple[Any, ...] | sqlite3.Row) -> Record:
        """The record of a row selected by COLUMNS."""
        (node, is_folder, parent, local_name, content, modified, created, media_type, synced_parent, synced_folder,
         synced_name, synced_content, synced_version, replaced, confirmed, listed, scattered, due, waiting, attempts,
         problem, parked, dirty, size, whole) = row
        return cls(
            node, is_folder == 1, parent, local_name, content, modified, created, media_type, synced_parent,
            synced_folder, synced_name, synced_content, synced_version, replaced, confirmed == 1, listed,
            scattered == 1, due, waiting, attempts, problem, parked == 1, dirty == 1, size or 0, whole == 1)

    def was_replaced(self, version: str | None) -> bool:
        """Whether our writes since the last confirmation replaced this version."""
        return version is not None and self.replaced is not None and version in self.replaced.split("\n")

    @property
    def is_root(self) -> bool:
        """The share's own folder, which is never dirty and never goes."""
        return self.id == 1

    @property
    def is_local(self) -> bool:
        """In the local tree, as far as the node itself tells: a folder above it may be gone."""
        return self.parent is not None or self.is_root

    @property
    def knows_members(self) -> bool:
        """Of a folder: a listing was applied, and nothing has made it out of date since but time."""
        return self.listed is not None and self.listed > 0

    @property
    def is_synced(self) -> bool:
        """The store is known to hold it."""
        return self.synced_name is not None

    @property
    def synced_path(self) -> str | None:
        """Where the store is known to hold it; `/` for the root, None for nothing."""
        if self.is_root:
            return "/"
        if self.synced_name is None:
            return None
        return f"{self.synced_folder}/{self.synced_name}"


class Standing(NamedTuple):
    """What a file that is to be saved has to know of what stands at its place."""

    id: int
    is_folder: bool
    content: int | None
    created: float
    dirty: bool
    due: float
    waiting: float | None
    attempts: int

    @classmethod
    def of(cls, record: Record) -> Standing:
        """What a record says of it."""
        return cls(record.id, record.is_folder, record.content, record.created, record.dirty, record.due,
                   record.waiting, record.attempts)


class Spot(NamedTuple):
    """Where a local path points to."""

    above: list[Record]
    """The nodes that the path leads through, from the root down, as far as there are any."""
    complete: bool
    """The last of them is what should hold it; it may be a file."""
    name: str
    standing: Standing | None
    """What has the name there."""


class NewFile(NamedTuple):
    """A row for a new file that the store has nothing of."""

    parent: int
    name: str
    content: int
    modified: float
    created: float
    media_type: str | None
    due: float
    waiting: float


class SavedAgain(NamedTuple):
    """What changes in the row of a file that gets another content."""

    content: int
    modified: float
    media_type: str | None
    due: float
    waiting: float
    id: int


class SavedFile(NamedTuple):
    """A file that was given a content, as it is then."""

    node: int
    content: Content
    modified: float
    created: float
    media_type: str | None
    is_new: bool
