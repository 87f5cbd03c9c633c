"""Asks the store for what a step says."""

from __future__ import annotations

import threading
import time
from typing import BinaryIO

from davfusion.cache.share import Share
from davfusion.cache.whole import open_whole
from davfusion.store.errors import TemporaryError
from davfusion.store.interface import IfAbsent, Metadata
from davfusion.sync.statistics import Statistics
from davfusion.sync.steps import Copy, Delete, DeleteFolder, MakeFolder, Move, MoveFolder, StoreStep, Upload


class Performer:
    """Does steps in the store and touches nothing in the index. Thread-safe."""

    def __init__(self, share: Share, statistics: Statistics) -> None:
        self._share = share
        self._index = share.index
        self._store = share.store
        self._statistics = statistics

    def perform(self, step: StoreStep, interrupt: threading.Event) -> Metadata | None:
        """Ask the store for one step; the metadata of what was written. Raises StoreError, with the effect unknown."""
        match step:
            case Upload():
                return self._verified(self._upload(step, interrupt))
            case Copy():
                return self._verified(self._store.duplicate(
                    step.source, step.path, if_version=step.source_version, condition=step.condition))
            case Move():
                return self._verified(self._store.move(
                    step.source, step.path, if_version=step.source_version, condition=step.condition))
            case Delete():
                self._store.delete(step.path, is_dir=False, if_version=step.version)
            case MakeFolder():
                self._store.keep_directory(step.path)
            case MoveFolder():
                self._store.move(step.source, step.path, condition=IfAbsent())
            case DeleteFolder():
                self._store.unkeep_directory(step.path)
        return None

    def _upload(self, step: Upload, interrupt: threading.Event) -> Metadata:
        content = self._index.view().contents.get(step.content)
        record = next(iter(self._index.view().nodes.users(step.content)), None)
        started = time.monotonic()
        with self._open(step.content) as file:
            written = self._store.store_fileobject(
                file, step.path, condition=step.condition, interrupt=interrupt,
                modified=record.modified if record is not None else None)
        self._statistics.uploaded(content.size if content is not None else 0, started, time.monotonic())
        return written

    def _open(self, content: int) -> BinaryIO:
        file = open_whole(self._index.view(), self._share.files, content)
        if file is None:
            raise TemporaryError("The content is not here any more")
        return file

    def _verified(self, written: Metadata) -> Metadata:
        """Where the store may not show at once what was written, look; what is not there counts as in doubt."""
        if self._store.capabilities.strong_consistency:
            return written
        shown = self._store.find(written.path)
        if shown is None or shown.version != written.version:
            raise TemporaryError("The store does not show what was just written", written.path, retry_after=1.0)
        return shown
