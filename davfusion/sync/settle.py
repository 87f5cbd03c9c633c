"""Finds out what the store holds where a write of ours is in doubt, or was refused because of a change there.

A write is in doubt when the process died, or the store failed, between the request and the record of
its effect. Its bytes tell whether it happened (`davfusion.sync.authors`).
One of which nothing is there may take effect yet, see `davfusion.cache.late`.
"""

from __future__ import annotations

import logging
from functools import partial

from davfusion.cache import late, synced
from davfusion.cache.adopt import adopt
from davfusion.cache.index import Kind, Operation, Record, View
from davfusion.cache.share import Share
from davfusion.store.interface import Metadata, split
from davfusion.sync.authors import Authors

log = logging.getLogger("davfusion.sync.settle")

_ORDER = (Kind.TREE_TO, Kind.TREE_FROM, Kind.WRITE, Kind.MAKE, Kind.CLEAR)
"""What was written is recorded before what was cleared is looked at."""


class Settler:
    """Asks the store about paths and records the answers. For one engine."""

    def __init__(self, share: Share) -> None:
        self._index = share.index
        self._store = share.store
        self._authors = Authors(share)
        self._over: set[int] = set()
        """Doubtful operations of this process whose request does not take effect any more if it has not."""

    def note_over(self, operations: list[Operation]) -> None:
        """What the store does not show of these when they are settled does not come late."""
        self._over.update(operation.id for operation in operations)

    def settle(self, operations: list[Operation]) -> None:
        """Clear up the doubtful operations of one node. Raises StoreError when the store cannot be asked."""
        ordered = sorted(operations, key=lambda operation: _ORDER.index(operation.kind))
        trees = [operation for operation in ordered if operation.kind in (Kind.TREE_TO, Kind.TREE_FROM)]
        if len(trees) == 2:
            self._settle_tree(trees[1], trees[0])
            ordered = [operation for operation in ordered if operation not in trees]
        for operation in ordered:
            shown = self._store.find(operation.path)
            author = self._authors.of(operation.path, shown, operation)
            unseen = self._unseen_above(operation.path) if operation.late and shown is None else None
            self._index.write(partial(self._record, operation=operation, shown=shown, author=author, unseen=unseen))
            self._over.discard(operation.id)

    def reconsider(self, path: str, operations: list[Operation]) -> bool:
        """The store refused because of what is at `path`: take that in, then the node can be planned anew.

        Returns False when that changed nothing here, so that the same step would be refused again; also while another
        write is under way or in doubt there, which has to tell first what it did. `operations` end either way.
        """
        shown = self._store.find(path)
        write = next((operation for operation in operations
                      if operation.kind is Kind.WRITE and operation.path == path), None)
        author = self._authors.of(path, shown, write)

        def change(view: View) -> bool:
            before = _known_at(view, path)
            for operation in operations:
                view.operations.finish(operation.id, view.now())
            if author is not None and shown is not None:
                self._record_ours(view, author, shown)
            elif not view.operations.open_near(path):
                self._take_in_news(view, path, shown, operations)
            return before != _known_at(view, path)
        return self._index.write(change) or author is not None

    # -- one path -----------------------------------------------------------------------------------

    def _record(self, view: View, *, operation: Operation, shown: Metadata | None, author: Operation | None,
                unseen: Metadata | None) -> None:
        if operation not in view.operations.open_on(operation.path):
            return  # it was found to be the author of what another was looked for
        known = view.nodes.at_store(*synced.place_of(operation.path))
        if operation.kind is Kind.CLEAR and _is_cleared(shown, known):
            view.operations.finish(operation.id, view.now())
            if known is not None:
                synced.removed(view, operation.path, folders=self._store.capabilities.folders)
            return
        if author != operation:
            self._end(view, operation)
        if author is not None and shown is not None:
            self._record_ours(view, author, shown)
        elif unseen is not None:
            self._take_in_unseen(view, unseen)
        elif _is_news(shown, known) and not _is_being_written(view, operation):
            self._take_in_news(view, operation.path, shown, [operation])

    def _end(self, view: View, operation: Operation) -> None:
        """The store shows nothing of the operation."""
        if operation.id in self._over:
            view.operations.finish(operation.id, view.now())
        else:
            late.give_up(view, operation)

    def _record_ours(self, view: View, operation: Operation, shown: Metadata) -> None:
        view.operations.finish(operation.id, view.now())
        known = view.nodes.at_store(*synced.place_of(operation.path))
        if known is not None and known.is_folder is not shown.is_dir:
            self._take_in(view, operation.path, None, [])  # what had the key before is gone
        if operation.late and self._store.capabilities.folders:
            self._note_folders_above(view, operation.path)
        record = view.nodes.get(operation.node)
        parent = self._parent_for(view, operation.path, record)
        log.info("doubtful write found done", extra={"path": operation.path, "kind": operation.kind.value})
        if operation.kind is Kind.MAKE:
            stray = operation.late and record is not None and record.is_synced and record.synced_path != operation.path
            synced.made_folder(view, 0 if stray else operation.node, path=operation.path, parent=parent,
                               marker=None if self._store.capabilities.folders else synced.MARKER_IN_DOUBT,
                               folders=self._store.capabilities.folders)
            return
        synced.wrote_file(
            view, operation.node, path=operation.path, parent=parent, content=operation.content or 0,
            version=shown.version, old_remains=True, folders=self._store.capabilities.folders, confirmed=True)

    def _note_folders_above(self, view: View, path: str) -> None:
        """What came late made the folders anew that had been removed meanwhile; they are to go again."""
        above = split(path)[0]
        if self._folder_at(view, above) is not None:
            return
        self._note_folders_above(view, above)
        synced.made_folder(view, 0, path=above, parent=self._parent_for(view, above, None), marker=None, folders=True)

    def _take_in_unseen(self, view: View, folder: Metadata) -> None:
        """The folder may be another late write's, which will tell."""
        if not view.operations.open_near(folder.path):
            self._take_in(view, folder.path, folder, [])

    def _take_in_news(self, view: View, path: str, shown: Metadata | None, operations: list[Operation]) -> None:
        """Take in what is at a path; a folder may be there only because something of ours came late."""
        settled = operations[0].id if operations else 0
        if shown is None or not shown.is_dir or not late.has_come(view, path, shown, other_than=settled):
            self._take_in(view, path, shown, operations)

    def _take_in(self, view: View, path: str, shown: Metadata | None, operations: list[Operation]) -> None:
        """Somebody else changed the path: the same decision as for a listing."""
        if path == "/":
            return
        folder_path, name = split(path)
        folder = self._folder_at(view, folder_path)
        if folder is None and shown is not None and operations:
            folder = self._imply_folder(view, folder_path, operations[0].node)
        if folder is None and shown is not None:
            folder = self._left_folder(view, folder_path)
        if folder is not None:
            adopt(view, folder, name, shown)
        else:
            synced.removed(view, path, folders=self._store.capabilities.folders)

    def _folder_at(self, view: View, path: str) -> Record | None:
        if path == "/":
            return view.nodes.get(1)
        return view.nodes.at_store(*synced.place_of(path))

    def _imply_folder(self, view: View, path: str, node: int) -> Record | None:
        """Something is in a folder that the store was not known to hold: it holds it."""
        record = view.nodes.get(node)
        if record is None or record.parent is None:
            return None
        parent = view.nodes.get(record.parent)
        if parent is None or parent.is_synced or parent.parent is None:
            return self._folder_at(view, path)
        synced.made_folder(view, parent.id, path=path, parent=parent.parent, marker=None,
                           folders=self._store.capabilities.folders)
        view.nodes.update(parent.id, listed=0)
        return view.nodes.get(parent.id)

    def _left_folder(self, view: View, path: str) -> Record | None:
        """A folder that was renamed or deleted object by object, but of which something is there still.

        None where a file is known there: no folder shows what lies below its key.
        """
        found = self._folder_at(view, path)
        if found is not None:
            return found if found.is_folder else None
        above = self._left_folder(view, split(path)[0])
        if above is None:
            return None
        folder, name = synced.place_of(path)
        now = view.now()
        node = view.nodes.insert(folder=1, modified=now, created=now, synced_parent=above.id, synced_folder=folder,
                                 synced_name=name, confirmed=1, listed=0, due=now)
        return view.nodes.get(node)

    def _parent_for(self, view: View, path: str, record: Record | None) -> int:
        folder = self._folder_at(view, split(path)[0])
        if folder is not None and folder.is_folder:
            return folder.id
        return record.parent if record is not None and record.parent is not None else 1

    def _unseen_above(self, path: str) -> Metadata | None:
        """The uppermost folder above a path that the index does not know, if it is in the store: somebody made it."""
        view, (above, _) = self._index.view(), split(path)
        unknown = None
        while above != "/" and ((known := self._folder_at(view, above)) is None or not known.is_folder):
            unknown, above = above, split(above)[0]
        return None if unknown is None else self._store.find(unknown)

    # -- trees --------------------------------------------------------------------------------------

    def _settle_tree(self, source: Operation, target: Operation) -> None:
        """A folder's rename is one step in the store: it is at one place or at the other."""
        at_source, at_target = self._store.find(source.path), self._store.find(target.path)
        moved = at_source is None and at_target is not None and at_target.is_dir

        def change(view: View) -> None:
            if moved:
                record = view.nodes.get(source.node)
                synced.moved_folder(view, source.node, source=source.path, target=target.path,
                                    parent=self._parent_for(view, target.path, record))
            elif at_source is None:
                self._take_in(view, source.path, None, [source])
            for operation in (source, target):
                view.operations.finish(operation.id, view.now())
        self._index.write(change)


def _is_cleared(shown: Metadata | None, known: Record | None) -> bool:
    """Nothing is there any more, or a folder in the place of the file that went."""
    return shown is None or (shown.is_dir and known is not None and not known.is_folder)


def _is_being_written(view: View, operation: Operation) -> bool:
    """Whether another write is open on the path, which will tell what is there."""
    return any(other.id != operation.id and other.kind in (Kind.WRITE, Kind.MAKE)
               for other in view.operations.open_on(operation.path))


def _is_news(shown: Metadata | None, known: Record | None) -> bool:
    if shown is None or known is None:
        return shown is not None or known is not None
    return shown.version != known.synced_version


def _known_at(view: View, path: str) -> tuple[int, bool, str | None] | None:
    """What the store is known to hold at a path: which node, whether it is a folder, the version."""
    known = view.nodes.at_store(*synced.place_of(path)) if path != "/" else None
    return None if known is None else (known.id, known.is_folder, known.synced_version)
