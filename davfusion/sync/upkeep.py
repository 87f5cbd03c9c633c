"""Housekeeping between transfers: contents that nothing names, confirmation of writes, markers, old notes."""

from __future__ import annotations

import logging

from davfusion.cache import synced
from davfusion.cache.index import View
from davfusion.cache.share import Share
from davfusion.store.errors import ConflictError, NotFoundError, StoreError

log = logging.getLogger("davfusion.sync.upkeep")

CONFIRM_AFTER = 60.0
"""Seconds after a write after which its folder is listed, if nobody did, to see that the store has it."""
OPERATION_MEMORY = 3600.0
"""Seconds for which ended operations are remembered; no listing takes longer."""
BATCH = 200
SPACE_EVERY = 300.0


class Upkeep:
    """Short tasks, each safe to stop at any moment. For the engine's own thread."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._index = share.index
        self._store = share.store
        self._space_asked = 0.0

    def run(self, *, store_is_down: bool) -> None:
        """One round."""
        self.collect()
        self._index.write(lambda view: view.operations.prune(view.now() - OPERATION_MEMORY))
        if store_is_down:
            return
        try:
            self.confirm(self._index.now() - CONFIRM_AFTER)
            self.drop_markers()
            self._note_space()
        except StoreError as error:
            log.warning("upkeep postponed", extra={"problem": str(error)})

    def collect(self) -> int:
        """Remove contents that nothing refers to any more; returns how many."""
        after, removed = 0, 0
        while batch := self._index.view().contents.unreferenced(after, BATCH):
            for file in self._index.write(lambda view, batch=batch: _remove(view, batch)):  # type: ignore[misc]
                self._share.files.remove(file)
            after, removed = batch[-1], removed + len(batch)
        return removed

    def confirm(self, before: float) -> None:
        """List the folders whose last writes no listing has shown yet. Raises StoreError."""
        for folder in self._index.view().nodes.unconfirmed_folders(before, BATCH):
            record = (self._index.view().nodes.at_store(*synced.place_of(folder)) if folder
                      else self._index.view().nodes.get(1))
            if record is None:
                continue
            try:
                self._share.lister.refresh(record.id)
            except NotFoundError:
                self._index.write(lambda view, node=record.synced_parent:  # type: ignore[misc]
                                  view.nodes.relist(node or 1))

    def drop_markers(self) -> None:
        """Where folders are implied: a marker is not needed any more once something else is in the folder."""
        if self._store.capabilities.folders:
            return
        for record in self._index.view().nodes.needless_markers(BATCH):
            try:
                self._store.delete_empty_directory(record.synced_path or "")
            except ConflictError:
                continue
            self._index.write(lambda view, node=record.id: view.nodes.update(node, synced_version=None))  # type: ignore[misc]

    def _note_space(self) -> None:
        if self._index.now() - self._space_asked < SPACE_EVERY:
            return
        self._space_asked = self._index.now()
        free = self._store.get_free_space()
        self._index.write(lambda view: view.operations.set_meta("store_free", "" if free is None else str(free)))


def _remove(view: View, contents: list[int]) -> list[str]:
    files = [view.contents.remove_unreferenced(content) for content in contents]
    return [file for file in files if file is not None]
