"""Changes of the local tree. Each runs inside one write transaction and touches the local side only.

Nothing here waits for a store. A node that leaves the local tree keeps its synced side: the engine
finds it dirty and removes its object. A folder leaves in one step whatever its size; what is below it
is no longer reachable from the root and goes in batches later (`sync`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from davfusion.cache.errors import IntoItselfError, NodeExistsError, NoParentError, NoSuchNodeError, WrongKindError
from davfusion.cache.index import Content, LockRow, NewFile, Record, SavedAgain, SavedFile, Spot, Standing, View
from davfusion.cache.node import ROOT_ID
from davfusion.store.interface import split

_FRESH = {"attempts": 0, "problem": None, "parked": 0}
"""A local change gives a node that had failed a new start."""
LONGEST_WAIT = 12
"""Delays of an upload after which a file goes to the store although it is saved again and again."""


class Placement(NamedTuple):
    """Where something is to be put: the parent folder, the name, and what is there now."""

    parent: Record
    name: str
    occupant: Record | None


class Save(NamedTuple):
    """A content for the file at a place, with its time of modification and the media type that was declared."""

    place: Spot
    content: Content
    modified: float
    media_type: str | None = None


def place(view: View, path: str) -> Placement:
    """Find the place for `path`. Raises NoParentError, and NodeExistsError for the root."""
    if path == "/":
        raise NodeExistsError("The share itself cannot be replaced", path)
    chain = view.nodes.chain(path)
    depth = path.count("/")
    if len(chain) < depth or not chain[depth - 1].is_folder:
        raise NoParentError("The folder that should hold it does not exist", path)
    return Placement(chain[depth - 1], split(path)[1], chain[depth] if len(chain) > depth else None)


def check_file_place(path: str, spot: Spot) -> None:
    """Whether a file may be put at `path`, which points there. Raises as `place`, and WrongKindError.

    That is raised where a folder is there.
    """
    if path == "/":
        raise NodeExistsError("The share itself cannot be replaced", path)
    if not spot.complete or not spot.above[-1].is_folder:
        raise NoParentError("The folder that should hold it does not exist", path)
    if spot.standing is not None and spot.standing.is_folder:
        raise WrongKindError("A folder has this name", path)


def put_files(view: View, saves: Sequence[Save], *, due: float) -> list[SavedFile]:
    """Point files, each at another place that was checked, to contents.

    Returns them as they are then, in the same order.
    """
    now = view.now()
    new = [_new_file(save, due=due, now=now) for save in saves if save.place.standing is None]
    again = [_saved_again(save, save.place.standing, due=due, now=now)
             for save in saves if save.place.standing is not None]
    for save in saves:
        if not save.content.flushed:
            _keep_replaced(view, save)
    if again:
        view.nodes.save_files(again)
    ids = iter(view.nodes.insert_files(new) if new else ())
    return [_saved_file(save, save.place.standing, ids, now) for save in saves]


def make_folder(view: View, path: str, *, modified: float, due: float) -> int:
    """A new, empty folder; returns its id. Raises NoParentError, NodeExistsError."""
    where = place(view, path)
    if where.occupant is not None:
        raise NodeExistsError("Something has this name already", path)
    return view.nodes.insert(folder=1, parent=where.parent.id, name=where.name, modified=modified,
                             created=view.now(), listed=view.now(), due=due)


def delete(view: View, path: str, *, due: float) -> Record:
    """Take a file, or a folder with all that is in it, out of the local tree; returns what it was.

    Raises NoSuchNodeError; NodeExistsError for the root.
    """
    if path == "/":
        raise NodeExistsError("The share itself cannot be deleted", path)
    record = view.nodes.resolve(path)
    if record is None:
        raise NoSuchNodeError("Nothing has this name", path)
    detach(view, record, due=due)
    return record


def detach(view: View, record: Record, *, due: float) -> None:
    """Take one node out of the local tree. Its row goes when the store holds nothing of it and nothing is below."""
    view.locks.remove_on(record.id)
    below = record.is_folder and view.nodes.has_children(record.id)
    if not below and not record.is_synced:
        view.nodes.remove(record.id)
        return
    view.nodes.update(record.id, parent=None, name=None, content=None, due=due, **_FRESH)


def move(view: View, source: str, destination: str, *, overwrite: bool, due: float) -> bool:
    """Rename; returns whether nothing was at the destination. Locks stay behind (RFC 4918, 7.7), properties go along.

    Raises NoSuchNodeError, NoParentError, NodeExistsError (something is there and `overwrite` is
    False, or the root is concerned), IntoItselfError.
    """
    record = _source(view, source, destination)
    where = place(view, destination)
    _make_way(view, where, destination, overwrite=overwrite, due=due)
    waiting = record.waiting
    if where.occupant is not None and record.content is not None and where.occupant.content is not None:
        view.contents.note_replaced(record.content, where.occupant.content)
        due, waiting = _patience(where.occupant, due=due, now=view.now())
    for lock in _locks_inside(view, record, source):
        view.locks.remove(lock.token)
    view.nodes.update(record.id, parent=where.parent.id, name=where.name, due=due, waiting=waiting, **_FRESH)
    return where.occupant is None


def copy(view: View, source: str, destination: str, *, overwrite: bool, infinite: bool, due: float) -> bool:
    """Copy a file or folder; contents are shared, properties copied, locks not (RFC 4918, 7.6 and 9.8).

    A folder comes without its members when not `infinite`. Every folder below the source must have
    been listed. Raises and returns as `move`.
    """
    record = _source(view, source, destination)
    where = place(view, destination)
    _make_way(view, where, destination, overwrite=overwrite, due=due)
    view.nodes.copy(record.id, parent=where.parent.id, name=where.name, now=view.now(), due=due, infinite=infinite)
    return where.occupant is None


def unique_name(view: View, parent: int, name: str, tag: str) -> str:
    """`name` with ` (tag)` before its extension, made free in the folder by a number if need be."""
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    candidate, number = f"{stem} ({tag}){dot}{extension}", 2
    while view.nodes.child(parent, candidate) is not None:
        candidate, number = f"{stem} ({tag} {number}){dot}{extension}", number + 1
    return candidate


def _patience(before: Record | Standing, *, due: float, now: float) -> tuple[float, float]:
    """When a file that is saved again is due, and since when it waits: what comes often must not wait for ever."""
    if not before.dirty or before.waiting is None:
        return due, now
    latest = before.due if before.attempts else before.waiting + LONGEST_WAIT * (due - now)
    return min(due, latest), before.waiting


def _new_file(save: Save, *, due: float, now: float) -> NewFile:
    parent = save.place.above[-1].id
    return NewFile(parent, save.place.name, save.content.id, save.modified, now, save.media_type, due, now)


def _keep_replaced(view: View, save: Save) -> None:
    before = save.place.standing
    if before is not None and before.content is not None:
        view.contents.note_replaced(save.content.id, before.content)


def _saved_again(save: Save, before: Standing, *, due: float, now: float) -> SavedAgain:
    due, waiting = _patience(before, due=due, now=now)
    return SavedAgain(save.content.id, save.modified, save.media_type, due, waiting, before.id)


def _saved_file(save: Save, before: Standing | None, new_ids: Iterator[int], now: float) -> SavedFile:
    node, created = (next(new_ids), now) if before is None else (before.id, before.created)
    return SavedFile(node, save.content, save.modified, created, save.media_type, before is None)


def _source(view: View, source: str, destination: str) -> Record:
    record = view.nodes.resolve(source)
    if record is None:
        raise NoSuchNodeError("Nothing has this name", source)
    if record.id == ROOT_ID:
        raise NodeExistsError("The share itself cannot be moved or copied", source)
    if source == destination or destination.startswith(source + "/") or source.startswith(destination + "/"):
        raise IntoItselfError("A folder cannot go into itself or replace a folder that holds it", destination)
    return record


def _make_way(view: View, where: Placement, path: str, *, overwrite: bool, due: float) -> None:
    if where.occupant is None:
        return
    if not overwrite:
        raise NodeExistsError("Something has this name already", path)
    detach(view, where.occupant, due=due)


def _locks_inside(view: View, record: Record, path: str) -> list[LockRow]:
    now = view.now()
    if not record.is_folder:
        return view.locks.on(record.id, now)
    tokens = {lock.token for lock in view.locks_under(path)}
    return [row for row in view.locks.all(now) if row.node == record.id or row.token in tokens]
