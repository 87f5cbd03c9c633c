"""Brings what a listing showed into the index, one name at a time, inside a write transaction."""

from __future__ import annotations

import logging
import socket
import time

from davfusion.cache import synced, tree
from davfusion.cache.index import Record, View
from davfusion.cache.node import ROOT_ID
from davfusion.cache.refresh import Finding, decide
from davfusion.store.interface import Metadata

log = logging.getLogger("davfusion.cache.refresh")


_BRINGS = (Finding.ADD, Finding.ADD_BESIDE, Finding.JOIN, Finding.TAKE, Finding.TAKE_BESIDE, Finding.REVIVE)
"""Findings that bring something into the listed folder; one that was deleted here comes back for it, unless nobody had
ever seen what is in it."""


def finding(view: View, folder: Record, name: str, shown: Metadata | None) -> Finding:
    """What the listing of `folder` means for one name, as the index is now."""
    known, occupant = _known(view, folder, name)
    return _decide(view, folder, name, shown, known, occupant)


def adopt(view: View, folder: Record, name: str, shown: Metadata | None) -> None:
    """Apply what the store shows under one name of a listed folder (None: it shows nothing)."""
    known, occupant = _known(view, folder, name)
    found = _decide(view, folder, name, shown, known, occupant)
    if found is Finding.SAME:
        return
    if known is not None and known.is_local and found is not Finding.CONFIRM and _is_deleted(view, known):
        tree.detach(view, known, due=view.now())  # deleted with a folder above it, wherever that was
        adopt(view, folder, name, shown)
        return
    if found in _BRINGS and _is_deleted(view, folder) and not (found is Finding.ADD and folder.listed is None):
        adopt(view, revive(view, folder), name, shown)
        return
    if found is not Finding.ADD and found is not Finding.CONFIRM:
        log.info("store changed", extra={"folder": folder.synced_path, "entry": name, "finding": found.name})
    if found is Finding.REPLACE:
        assert known is not None
        _gone(view, known, decide(None, known, None))
        adopt(view, folder, name, shown)
        return
    if shown is None:
        assert known is not None
        _gone(view, known, found)
        return
    if known is None:
        _appeared(view, folder, name, shown, occupant, found)
        return
    _changed(view, folder, name, shown, known, occupant, found)


def _known(view: View, folder: Record, name: str) -> tuple[Record | None, Record | None]:
    known = view.nodes.at_store(synced.store_folder(folder.synced_path or "/"), name)
    if known is not None and known.is_local:
        return known, None
    return known, view.nodes.child(folder.id, name)


def _decide(view: View, folder: Record, name: str, shown: Metadata | None, known: Record | None,
            occupant: Record | None) -> Finding:
    """Where folders are implied, one that is renamed object by object shows up before it is recorded: no news."""
    if known is None and shown is not None and shown.is_dir:
        path = f"{synced.store_folder(folder.synced_path or '/')}/{name}"
        if view.nodes.any_below_store(path):
            return Finding.SAME
    return decide(shown, known, occupant)


def _appeared(view: View, folder: Record, name: str, shown: Metadata, occupant: Record | None,
              found: Finding) -> None:
    store_folder = synced.store_folder(folder.synced_path or "/")
    if found is Finding.JOIN and occupant is not None:
        view.nodes.update(occupant.id, synced_parent=folder.id, synced_folder=store_folder, synced_name=name,
                          synced_version=synced.MARKER_OF_OTHERS,
                          confirmed=_is_sure(view, shown), listed=0, attempts=0, problem=None, parked=0)
        return
    if occupant is not None:
        _step_aside(view, occupant)
    content = None if shown.is_dir else view.contents.insert(size=shown.bytes, used=view.now())
    view.nodes.insert(
        folder=int(shown.is_dir), parent=folder.id, name=name, content=content, modified=shown.modified,
        created=shown.modified, synced_parent=folder.id, synced_folder=store_folder, synced_name=name,
        synced_content=content, synced_version=synced.MARKER_OF_OTHERS if shown.is_dir else shown.version,
        confirmed=_is_sure(view, shown), due=view.now())


def _changed(view: View, folder: Record, name: str, shown: Metadata, known: Record, occupant: Record | None,
             found: Finding) -> None:
    if found is Finding.CONFIRM:
        view.nodes.update(known.id, confirmed=_is_sure(view, shown))
        return
    if found is Finding.REWRITE:
        log.warning("write lost by the store", extra={"path": known.synced_path})
        view.nodes.update(known.id, synced_content=None, synced_version=shown.version, due=view.now())
        return
    if found is Finding.TAKE_BESIDE:
        _keep_copy(view, known)
    if found is Finding.REVIVE:
        if occupant is not None:
            _step_aside(view, occupant)
        view.nodes.update(known.id, parent=folder.id, name=name, synced_parent=folder.id)
    content = view.contents.insert(size=shown.bytes, used=view.now())
    view.nodes.update(
        known.id, content=content, synced_content=content, synced_version=shown.version, modified=shown.modified,
        media_type=None, confirmed=_is_sure(view, shown), attempts=0, problem=None, parked=0)


def _is_sure(view: View, shown: Metadata) -> int:
    """Whether what the store shows stays, as far as we have a hand in it: no late write of ours may strike there."""
    return int(not view.operations.may_come(shown.path))


def _gone(view: View, known: Record, found: Finding) -> None:
    if found is Finding.REWRITE:
        log.warning("write lost by the store", extra={"path": known.synced_path})
    if known.is_folder:
        _folder_gone(view, known)
        return
    if found in (Finding.KEEP, Finding.REWRITE):
        synced.unsync(view, known)
        return
    if found is Finding.REMOVE and not _can_be_copied_again(view, known):
        view.nodes.remove(known.id)
        return
    synced.unsync(view, known)


def _can_be_copied_again(view: View, record: Record) -> bool:
    """The store has not surely shown the file, whose bytes are not here, and has them at another place, too."""
    return not record.confirmed and any(holder.id != record.id for holder in view.nodes.holders(record.content or 0))


def _folder_gone(view: View, known: Record) -> None:
    """The store lost a whole folder: what was unchanged here goes too, what is new here stays and is written anew."""
    below = view.nodes.forget_synced_below(known.synced_path or "")
    synced.unsync(view, known)
    local = view.nodes.get(known.id)
    if local is None:
        return
    gone = {record.id for record in [known, *below] if _unchanged(view, record)}
    inside = [record for record, _ in view.nodes.subtree(known.id)]
    for record in reversed(inside):
        if record.id in gone and not view.nodes.has_children(record.id):
            view.nodes.remove(record.id)
    if known.id in gone and not view.nodes.has_children(known.id):
        view.nodes.remove(known.id)
    for record in below:
        _drop_if_lost(view, record)


def _unchanged(view: View, record: Record) -> bool:
    if record.is_folder:
        return record.confirmed
    if record.content != record.synced_content:
        return False
    moved = record.parent != record.synced_parent or record.local_name != record.synced_name
    if not record.whole:
        return not _can_be_copied_again(view, record)
    return record.confirmed and not moved


def _drop_if_lost(view: View, before: Record) -> None:
    """What was below the folder but lies elsewhere in the local tree stays if its bytes are here."""
    record = view.nodes.get(before.id)
    if record is None:
        return
    if not record.is_local:
        synced.forget(view, record.id)
    elif not record.is_folder and not record.whole and not view.nodes.holders(record.content or 0):
        log.warning("content lost with its folder in the store", extra={"node": record.id})
        view.nodes.remove(record.id)


def _is_deleted(view: View, record: Record) -> bool:
    return view.nodes.path(record.id) is None


def revive(view: View, folder: Record) -> Record:
    """Bring a deleted folder back where the store has it, empty: what was deleted with it stays deleted."""
    for child in view.nodes.children(folder.id):
        tree.detach(view, child, due=view.now())
    above = synced.store_folder(folder.synced_path or "/").rpartition("/")[0]
    parent = view.nodes.at_store(*synced.place_of(above)) if above else view.nodes.get(ROOT_ID)
    if parent is None:
        parent = view.nodes.get(ROOT_ID)
    assert parent is not None
    if _is_deleted(view, parent):
        parent = revive(view, parent)
    name = folder.synced_name or ""
    occupant = view.nodes.child(parent.id, name)
    if occupant is not None and occupant.is_folder and not occupant.is_synced:
        return _hand_over(view, folder, occupant)
    if occupant is not None:
        _step_aside(view, occupant)
    log.info("deleted folder revived", extra={"path": folder.synced_path})
    view.nodes.update(folder.id, parent=parent.id, name=name, synced_parent=parent.id)
    return view.nodes.get(folder.id) or folder


def _hand_over(view: View, folder: Record, successor: Record) -> Record:
    """A new folder took the name of a deleted one: from now on it is the store's folder."""
    synced.unsync(view, folder)
    view.nodes.update(
        successor.id, synced_parent=successor.parent, synced_folder=folder.synced_folder,
        synced_name=folder.synced_name, synced_version=folder.synced_version, confirmed=1, listed=folder.listed)
    return view.nodes.get(successor.id) or successor


def _step_aside(view: View, occupant: Record) -> None:
    """Rename ours, because the store's version keeps the name."""
    assert occupant.parent is not None
    name = tree.unique_name(view, occupant.parent, occupant.local_name or "", _tag(view.now()))
    view.nodes.update(occupant.id, name=name, due=view.now(), attempts=0, problem=None, parked=0)
    log.warning("both changed, ours renamed", extra={"entry": occupant.local_name, "renamed": name})


def _keep_copy(view: View, known: Record) -> None:
    """Our version becomes a file of its own beside the store's."""
    assert known.parent is not None
    name = tree.unique_name(view, known.parent, known.local_name or "", _tag(view.now()))
    copy = view.nodes.insert(
        folder=0, parent=known.parent, name=name, content=known.content, modified=known.modified,
        created=known.created, media_type=known.media_type, due=view.now())
    view.properties.copy(known.id, copy)
    log.warning("both changed, ours kept beside", extra={"entry": known.local_name, "kept": name})


def _tag(now: float) -> str:
    return f"conflict of {socket.gethostname()} {time.strftime('%Y-%m-%d', time.localtime(now))}"
