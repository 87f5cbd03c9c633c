"""What the index says about a step of the store: its intent before, the fact after."""

from __future__ import annotations

from davfusion.cache import synced
from davfusion.cache.index import Kind, Operation, Record, View
from davfusion.cache.node import ROOT_ID
from davfusion.store.interface import Capabilities, Metadata
from davfusion.sync.situation import Situation
from davfusion.sync.steps import Copy, Delete, DeleteFolder, MakeFolder, Move, MoveFolder, StoreStep, Upload


def owner(step: StoreStep, node: int) -> int:
    """The node that a step planned for `node` is about: some steps make way, or keep a folder, for another."""
    return step.node if isinstance(step, (MakeFolder, MoveFolder)) else node


def note_intent(view: View, step: StoreStep, situation: Situation) -> None:
    """Note the paths that are about to be written or cleared, and hold contents whose objects are overwritten."""
    begin, node = view.operations.begin, situation.node
    match step:
        case Upload() | Copy():
            begin(Kind.WRITE, step.path, node, step.content)
        case Move():
            begin(Kind.WRITE, step.path, node, step.content)
            begin(Kind.CLEAR, step.source, node)
        case Delete():
            begin(Kind.CLEAR, step.path, node)
        case MakeFolder():
            begin(Kind.MAKE, step.path, step.node)
        case MoveFolder():
            begin(Kind.TREE_FROM, step.source, step.node)
            begin(Kind.TREE_TO, step.path, step.node)
        case DeleteFolder():
            begin(Kind.CLEAR, step.path, node)
    if situation.occupant is not None and situation.occupant.is_local:
        begin(Kind.CLEAR, situation.path or "", node, situation.occupant.content)


def record_fact(view: View, step: StoreStep, record: Record, operations: list[Operation], result: Metadata | None,
                can: Capabilities) -> None:
    """Record the fact, and that nothing is in doubt any more."""
    folders = can.folders
    parent = record.parent or ROOT_ID
    match step:
        case Upload() | Copy() | Move():
            assert result is not None
            if isinstance(step, Move) and view.nodes.get(record.id) is None:
                synced.removed(view, step.source, folders=folders)
            synced.wrote_file(
                view, record.id, path=step.path, parent=parent, content=step.content, version=result.version,
                old_remains=not isinstance(step, Move), folders=folders,
                confirmed=not can.strong_consistency)
        case Delete() | DeleteFolder():
            synced.removed(view, step.path, folders=folders)
        case MakeFolder():
            _record_folder(view, step, record, folders)
        case MoveFolder():
            mover = view.nodes.get(step.node)
            above = mover.parent if mover is not None and mover.parent is not None else parent
            synced.moved_folder(view, step.node, source=step.source, target=step.path,
                                parent=above if step.node == record.id else 0)
    for operation in operations:
        view.operations.finish(operation.id, view.now())


def _record_folder(view: View, step: MakeFolder, record: Record, folders: bool) -> None:
    made = record if step.node == record.id else view.nodes.get(step.node)
    parent = made.parent if made is not None and made.parent is not None else ROOT_ID
    synced.made_folder(view, step.node, path=step.path, parent=parent, marker=None if folders else synced.MARKER,
                       folders=folders)
