"""Removes markers that are not needed any more: where folders are implied, something else in a folder makes it too.

A marker that is being removed is in doubt in the index from before the request until after it, so that whoever
takes the last object out of the folder, also after a crash, puts a marker first.
"""

from __future__ import annotations

from davfusion.cache import synced
from davfusion.cache.index import View
from davfusion.cache.share import Share
from davfusion.store.errors import ConflictError

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
            path = record.synced_path or ""
            try:
                if self._index.write(lambda view, path=path: self._begin(view, path)):  # type: ignore[misc]
                    self._remove(path)
            finally:
                self._going.discard(path)

    def _begin(self, view: View, path: str) -> bool:
        if not synced.doubt_marker(view, path):
            return False
        self._going.add(path)
        return True

    def _remove(self, path: str) -> None:
        try:
            self._store.delete_empty_directory(path)
        except ConflictError:
            self._index.write(lambda view: synced.marker_refused(view, path))
            return
        self._index.write(lambda view: synced.marker_removed(view, path))
