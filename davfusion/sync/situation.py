"""All that the planner needs to know of one node, gathered from the index."""

from __future__ import annotations

from dataclasses import dataclass

from davfusion.cache import synced
from davfusion.cache.index import Record, View
from davfusion.store.interface import Capabilities

BELOW_LIMIT = 1000
"""Nodes below a folder that are named at a time."""


@dataclass(frozen=True, slots=True)
class Place:
    """An object in the store and the content that it is known to hold."""

    path: str
    content: int | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Occupant:
    """Another node whose object is where ours should go."""

    node: int
    is_folder: bool
    is_local: bool
    """The local tree wants it, at another path."""
    content: int | None
    version: str | None
    whole: bool
    """Its content is here."""
    needed_by: tuple[int, ...]
    """Nodes that need its content and can get it only from there."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies below a folder; costly to gather, so done outside transactions."""

    below: tuple[int, ...] = ()
    """Nodes that must be carried before the folder itself (not all, if there are many)."""
    unlisted: int | None = None
    """A folder, this one or one below, whose members in the store are not known."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One node in both trees. `path` is where the store should have it; None when nowhere."""

    node: int
    is_folder: bool
    path: str | None
    parent: int | None
    content: int | None
    size: int
    whole: bool
    synced: Place | None
    marker: bool
    needed_by: tuple[int, ...]
    """Nodes that need the content of its object and can get it only from there."""
    occupant: Occupant | None
    blocked_by: int | None
    """A node above that must be carried first: a folder that is not in place yet, a file where a folder should be."""
    source: Place | None
    """An object of the store that holds its content."""
    has_children: bool
    implied: bool
    """Of a folder: the store holds something where the folder should be."""
    survey: Survey
    keeps: tuple[int, str] | None
    """A folder (node, path) that the store would lose with this object, because nothing else implies it."""
    successor: int | None
    """Of a file that is to go: the file that will be put where its object is. Of a folder that is to go, where folders
    are implied: the one that will be there, which takes over what marks it."""
    busy: tuple[int, ...]
    """Other nodes with a write under way, or in doubt, near its paths."""
    deadlocked: bool
    """What it would wait for waits for it."""
    can: Capabilities


def survey(view: View, record: Record, can: Capabilities) -> Survey:
    """Look below a folder."""
    if not record.is_folder:
        return Survey()
    path = view.nodes.path(record.id)
    if path is None:
        return _survey_deleted(view, record)
    if can.atomic_move or (not record.scattered and record.synced_path in (None, path)):
        return Survey()
    return _survey_pieces(view, record, path)


def gather(view: View, record: Record, can: Capabilities, below: Survey, *, deadlocked: bool = False) -> Situation:
    """The situation of a node as this view shows it."""
    path = view.nodes.path(record.id)
    place = _place(record)
    source = _source(view, record)
    targets = {here for here in (path, place.path if place else None, source.path if source else None)
               if here is not None}
    return Situation(
        node=record.id, is_folder=record.is_folder, path=path, parent=record.parent, content=record.content,
        size=record.size, whole=record.whole, synced=place, marker=synced.may_have_marker(record),
        needed_by=_needed_by(view, record), occupant=_occupant(view, record, path),
        blocked_by=_blocked_by(view, record, path, can), source=source,
        has_children=record.is_folder and view.nodes.has_children(record.id),
        implied=record.is_folder and path is not None and view.nodes.is_held_in_store(path), survey=below,
        keeps=_keeps(view, record, path, can), successor=_successor(view, record, path, can),
        busy=_busy(view, record, targets), deadlocked=deadlocked, can=can)


def _place(record: Record) -> Place | None:
    if record.synced_path is None:
        return None
    return Place(record.synced_path, record.synced_content, record.synced_version)


def _needed_by(view: View, record: Record) -> tuple[int, ...]:
    """Nodes that have the content of this node's object, have it nowhere in the store, and cannot read it here."""
    content = record.synced_content
    if content is None or (content == record.content and view.nodes.path(record.id) == record.synced_path):
        return ()
    held = view.contents.get(content)
    if held is None or held.whole:
        return ()
    if any(holder.id != record.id for holder in view.nodes.holders(content)):
        return ()
    return tuple(user for user in view.nodes.unsynced_users(content)
                 if user != record.id and view.nodes.path(user) is not None)


def _occupant(view: View, record: Record, path: str | None) -> Occupant | None:
    if path is None or path == "/":
        return None
    other = view.nodes.at_store(*synced.place_of(path))
    if other is None or other.id == record.id:
        return None
    held = view.contents.get(other.synced_content) if other.synced_content is not None else None
    needed = tuple(node for node in _needed_by(view, other) if node != record.id)
    return Occupant(
        node=other.id, is_folder=other.is_folder, is_local=view.nodes.path(other.id) is not None,
        content=other.synced_content, version=other.synced_version, whole=held is None or held.whole, needed_by=needed)


def _blocked_by(view: View, record: Record, path: str | None, can: Capabilities) -> int | None:
    """Folders of their own must be where they should be before anything is put into them; where folders are implied,
    no file may be where a folder should be."""
    if path is None or record.parent is None:
        return None
    if can.folders:
        parent = view.nodes.get(record.parent)
        in_place = parent is not None and parent.synced_path == (path.rpartition("/")[0] or "/")
        return None if in_place else record.parent
    above = path.rpartition("/")[0]
    while above:
        owner = view.nodes.at_store(*synced.place_of(above))
        if owner is not None and not owner.is_folder and owner.id != record.id:
            return owner.id
        above = above.rpartition("/")[0]
    return None


def _source(view: View, record: Record) -> Place | None:
    if record.content is None:
        return None
    holders = view.nodes.holders(record.content)
    own = next((holder for holder in holders if holder.id == record.id), None)
    chosen = own or (holders[0] if holders else None)
    return None if chosen is None else _place(chosen)


def _keeps(view: View, record: Record, path: str | None, can: Capabilities) -> tuple[int, str] | None:
    """Where folders are implied, the last object of a folder that stays must not go before a marker is there."""
    if can.folders or path == record.synced_path:
        return None
    above = record.synced_folder
    while above:
        if view.nodes.is_held_in_store(above, other_than=record.id):
            return None
        folder = view.nodes.at_store(*synced.place_of(above))
        if folder is None or not folder.is_folder or folder.synced_version == synced.MARKER:
            return None
        if view.nodes.path(folder.id) == folder.synced_path:
            return folder.id, above
        above = folder.synced_folder
    return None


def _successor(view: View, record: Record, path: str | None, can: Capabilities) -> int | None:
    if path is not None or record.synced_path is None or (record.is_folder and can.folders):
        return None
    other = view.nodes.resolve(record.synced_path)
    if record.is_folder:
        return other.id if other is not None and other.is_folder and other.dirty and not other.parked else None
    if other is None or other.is_folder or other.parked or other.parent != record.synced_parent:
        return None  # in another folder of that name: it comes only when this one's is gone
    return other.id


def _busy(view: View, record: Record, targets: set[str]) -> tuple[int, ...]:
    nodes = {operation.node for target in targets for operation in view.operations.open_near(target)}
    return tuple(sorted(nodes - {record.id}))


def _survey_deleted(view: View, record: Record) -> Survey:
    if record.is_synced and record.listed is None:
        return Survey(unlisted=record.id)
    if not record.is_synced:
        return Survey()
    below = view.nodes.below_store(record.synced_path or "", BELOW_LIMIT)
    # What is in place already belongs to a folder that takes the name: nothing is to be waited for there.
    return Survey(below=tuple(node.id for node in below
                              if node.dirty or view.nodes.path(node.id) != node.synced_path))


def _survey_pieces(view: View, record: Record, path: str) -> Survey:
    """Descendants whose objects are not where the tree has them, deepest folders last."""
    if record.is_synced and not record.knows_members:
        return Survey(unlisted=record.id)
    files: list[int] = []
    folders: list[int] = []
    for node, relative in view.nodes.subtree(record.id):
        if not node.scattered and node.synced_path in (None, path + relative):
            continue
        if node.is_folder and node.is_synced and not node.knows_members:
            return Survey(unlisted=node.id)
        (folders if node.is_folder else files).append(node.id)
        if len(files) >= BELOW_LIMIT:
            break
    return Survey(below=tuple(files or reversed(folders)))
