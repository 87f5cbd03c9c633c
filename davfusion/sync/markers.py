"""Removes markers that are not needed any more: where folders are implied, something else in a folder makes it too.

A marker that is being removed is in doubt in the index from before the request until after it, so that whoever
takes the last object out of the folder, also after a crash, puts a marker first.
"""

from __future__ import annotations

from functools import partial

from davfusion.cache import synced
from davfusion.cache.index import Kind, Record, View
from davfusion.cache.share import Share

BATCH = 200


class Markers:
    """Markers of one engine. Thread-safe, where one thread drops."""

    def __init__(self, share: Share) -> None:
        self._index = share.index
        self._store = share.store
        self._going: set[str] = set()
        """Folders (store paths) with a request of this process under way that removes their marker."""

    def is_going(self, folder: str) -> bool:
        """Whether the marker of the folder is being removed just now: one that is put could go with it."""
        return folder in self._going

    def drop(self) -> None:
        """Remove what is not needed. Raises StoreError; what is in doubt then is looked after the next time."""
        if self._store.capabilities.folders:
            return
        for record in self._index.view().nodes.needless_markers(BATCH):
            try:
                operation = self._index.write(partial(self._begin, record=record))
                if operation is not None:
                    self._remove(record.synced_path or "", operation)
            finally:
                self._going.discard(record.synced_path or "")

    def _begin(self, view: View, record: Record) -> int | None:
        """Note what is about to happen; nobody has to wait for it, so that it counts as late from the beginning."""
        path = record.synced_path or ""
        if not synced.doubt_marker(view, path):
            return None
        self._going.add(path)
        operation = view.operations.begin(Kind.CLEAR, path, record.id)
        view.operations.give_up(operation, view.now())
        return operation

    def _remove(self, path: str, operation: int) -> None:
        self._store.unkeep_directory(path)

        def change(view: View) -> None:
            view.operations.finish(operation, view.now())
            synced.marker_removed(view, path)
        self._index.write(change)
