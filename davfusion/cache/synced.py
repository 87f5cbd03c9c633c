"""Changes of the synced side: facts about what the store holds, recorded in one write transaction each.

A fact is recorded whatever happened to the local side meanwhile, and it never touches the local side:
a node that was changed, renamed or deleted while its object was written simply stays dirty. That is
why a finished upload cannot undo a newer save.
"""

from __future__ import annotations

from davfusion.cache.index import Record, View
from davfusion.store.interface import split

MARKER = "marker"
"""`synced_version` of a folder for which the store holds a marker of ours."""
MARKER_IN_DOUBT = "marker in doubt"
"""The same where a marker may be there or not: nothing relies upon it, and it is removed with the folder."""
MARKER_OF_OTHERS = "marker of others"
"""The same of a folder that somebody else made: other programs put markers, too, which nobody sees in a listing."""
_MARKED = (MARKER, MARKER_IN_DOUBT, MARKER_OF_OTHERS)

REMEMBERED = 20
"""Replaced versions that are remembered of one file until a listing shows the last."""

_NOTHING = {"synced_parent": None, "synced_folder": None, "synced_name": None, "synced_content": None,
            "synced_version": None, "replaced": None, "confirmed": 0}
_DONE = {"attempts": 0, "problem": None, "parked": 0}


def store_folder(path: str) -> str:
    """The store folder form of a path: without a last `/`, so empty for the root."""
    return "" if path == "/" else path


def place_of(path: str) -> tuple[str, str]:
    """Store folder and name of a store path other than the root."""
    folder, name = split(path)
    return store_folder(folder), name


def wrote_file(view: View, node: int, *, path: str, parent: int, content: int, version: str | None,
               old_remains: bool, folders: bool, confirmed: bool = False) -> None:
    """The store holds `content` at `path`, written for `node` when its parent was `parent`.

    `old_remains`: where the store held the node before, it still does (a copy or an upload, not a
    move); a node for what is left there is made, so that it gets removed. `folders`: the store has
    folders of their own.
    """
    record = view.nodes.get(node)
    replaced = _clear_place(view, path, node)
    if record is None:
        _leave(view, path=path, parent=parent, content=content, version=version)
        return
    if record.synced_path == path:
        replaced = _replaced(record)
    elif record.is_synced and old_remains:
        view.nodes.update(node, **_NOTHING)
        _leave(view, path=record.synced_path or "", parent=record.synced_parent or 0,
               content=record.synced_content, version=record.synced_version)
    folder, name = place_of(path)
    confirmed = confirmed and not view.operations.may_come(path)
    view.nodes.update(
        node, synced_parent=parent, synced_folder=folder, synced_name=name, synced_content=content,
        synced_version=version, replaced=replaced, confirmed=confirmed, waiting=None, **_DONE)
    if not folders:
        _settle_folders(view, parent, folder)


def may_have_marker(folder: Record) -> bool:
    """Whether the store may hold a marker for the folder."""
    return folder.synced_version in _MARKED


def made_folder(view: View, node: int, *, path: str, parent: int, marker: str | None, folders: bool) -> None:
    """The store holds a folder at `path` for `node`; what was known at another path stays to be removed.

    `marker`: MARKER, MARKER_IN_DOUBT, or None where something else makes the folder.
    """
    record = view.nodes.get(node)
    _clear_place(view, path, node)
    folder, name = place_of(path)
    confirmed = int(not view.operations.may_come(path))
    if record is None:
        view.nodes.insert(
            folder=1, modified=view.now(), created=view.now(), synced_parent=parent, listed=view.now(),
            synced_folder=folder, synced_name=name, synced_version=marker, confirmed=confirmed, due=view.now())
        return
    if record.is_synced and record.synced_path != path and (folders or may_have_marker(record)):
        view.nodes.update(node, **_NOTHING)
        view.nodes.insert(
            folder=1, modified=record.modified, created=record.created, listed=view.now(), due=view.now(),
            synced_parent=record.synced_parent, synced_folder=record.synced_folder, synced_name=record.synced_name,
            synced_version=record.synced_version, confirmed=1)
    view.nodes.update(node, synced_parent=parent, synced_folder=folder, synced_name=name, synced_version=marker,
                      confirmed=confirmed, **_DONE)
    if not folders:
        _settle_folders(view, parent, folder)


def doubt_marker(view: View, path: str) -> bool:
    """A marker is about to be removed; False when the folder has none by now, needs it, or something is under way."""
    folder = view.nodes.at_store(*place_of(path))
    if folder is None or not may_have_marker(folder) or view.operations.open_on(path):
        return False
    if not view.nodes.is_held_in_store(path):
        return False
    view.nodes.update(folder.id, synced_version=MARKER_IN_DOUBT)
    return True


def doubt_absence_of_marker(view: View, folder: Record) -> None:
    """A marker may have been put although nobody saw it; it is to be removed with the folder."""
    if folder.is_folder and not may_have_marker(folder):
        view.nodes.update(folder.id, synced_version=MARKER_IN_DOUBT)


def marker_removed(view: View, path: str) -> None:
    """The marker is gone; so is the folder if its last member went meanwhile."""
    folder = view.nodes.at_store(*place_of(path))
    if folder is not None and may_have_marker(folder):
        view.nodes.update(folder.id, synced_version=None)
        unsync_if_implied_no_more(view, path)


def moved_folder(view: View, node: int, *, source: str, target: str, parent: int) -> None:
    """The store has renamed a folder with all that is in it."""
    _clear_place(view, target, node)
    view.nodes.move_synced_tree(store_folder(source), store_folder(target))
    view.operations.copy_late(store_folder(source), store_folder(target))
    folder, name = place_of(target)
    if view.nodes.get(node) is None:
        view.nodes.insert(folder=1, modified=view.now(), created=view.now(), synced_parent=parent,
                          synced_folder=folder, synced_name=name, confirmed=1, due=view.now())
        return
    view.nodes.update(node, synced_parent=parent, synced_folder=folder, synced_name=name, **_DONE)


def removed(view: View, path: str, *, folders: bool) -> None:
    """The store holds nothing at `path` any more. `folders`: the store has folders of their own.

    Where it has not, the folder that held it went too, if nothing else implies it; one that is to stay is made anew.
    """
    holder = view.nodes.at_store(*place_of(path))
    if holder is not None:
        unsync(view, holder)
    if not folders:
        unsync_if_implied_no_more(view, place_of(path)[0])


def unsync_if_implied_no_more(view: View, folder: str) -> None:
    """A folder of the tree for which the store has neither marker nor member is not in the store."""
    record = view.nodes.at_store(*place_of(folder)) if folder else None
    if record is None or not record.is_folder or record.synced_version == MARKER:
        return
    if view.nodes.path(record.id) is None or view.nodes.any_in_store_folder(folder):
        return
    unsync(view, record)
    if may_have_marker(record):
        # Should the folder be deleted before it is made anew, what may be left of it has to go, too.
        view.nodes.insert(
            folder=1, modified=record.modified, created=record.created, listed=view.now(), due=view.now(),
            synced_parent=record.synced_parent, synced_folder=record.synced_folder, synced_name=record.synced_name,
            synced_version=record.synced_version, confirmed=1)


def unsync(view: View, record: Record) -> None:
    """The store holds nothing of the node: a local node is to be written anew, another is forgotten."""
    view.nodes.update(record.id, due=view.now(), **_NOTHING, **_DONE)
    if not record.is_local:
        forget(view, record.id)


def forget(view: View, node: int) -> None:
    """Remove a node that is in neither tree and has nothing below it."""
    record = view.nodes.get(node)
    if record is None or record.is_local or record.is_synced or view.nodes.has_children(node):
        return
    view.nodes.remove(node)


def in_place(view: View, node: int) -> bool:
    """Whether a folder and all above it lie in the store where the local tree has them."""
    record = view.nodes.get(node)
    return record is not None and record.synced_path is not None and record.synced_path == view.nodes.path(node)


def _clear_place(view: View, path: str, node: int) -> str | None:
    """Another node's object was at `path` and is not any more; returns the versions that were there."""
    owner = view.nodes.at_store(*place_of(path))
    if owner is None or owner.id == node:
        return None
    unsync(view, owner)
    return _replaced(owner)


def _replaced(record: Record) -> str | None:
    """The versions that a write now replaces: the last, and those before it that the store may still have."""
    earlier = record.replaced.split("\n") if record.replaced and not record.confirmed else []
    versions = [*earlier, record.synced_version] if record.synced_version else earlier
    return "\n".join(versions[-REMEMBERED:]) or None


def _leave(view: View, *, path: str, parent: int, content: int | None, version: str | None) -> None:
    """A node for an object that the local tree does not want, so that the engine removes it."""
    folder, name = place_of(path)
    view.nodes.insert(
        folder=0, modified=view.now(), created=view.now(), synced_parent=parent, synced_folder=folder,
        synced_name=name, synced_content=content, synced_version=version, due=view.now())


def _marker_of(view: View, folder: Record | None, path: str) -> str | None:
    """What is known of the marker of a deleted folder, for the one that takes its place."""
    if folder is None or not may_have_marker(folder):
        return None
    return MARKER_IN_DOUBT if view.operations.open_on(path) else folder.synced_version


def _settle_folders(view: View, parent: int, folder: str) -> None:
    """An object lies in the store folder: where folders are implied, that and those above it exist now.

    A folder of the local tree that the store knows under another path has its objects scattered.
    """
    current: int | None = parent
    while folder and current is not None:
        record = view.nodes.get(current)
        if record is None or record.is_root:
            return
        above, _, name = folder.rpartition("/")
        owner = view.nodes.at_store(above, name)
        if owner is not None and owner.id != record.id and view.nodes.path(owner.id) is not None:
            return  # moved elsewhere since the step was planned: the folder there is another one's
        if owner is not None and not owner.is_folder:
            view.nodes.update(record.id, scattered=1)
            return  # a file's object has the folder's key still, and is to go first
        if record.synced_path is None:
            marker = _marker_of(view, owner, folder)
            _clear_place(view, folder, record.id)
            view.nodes.update(record.id, synced_parent=record.parent, synced_folder=above, synced_name=name,
                              synced_version=marker, confirmed=1, **_DONE)
        elif record.synced_path != folder:
            view.nodes.update(record.id, scattered=1)
        folder, current = above, record.parent
