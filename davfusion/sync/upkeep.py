"""Housekeeping between transfers: contents that nothing names, confirmation of writes, old notes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from davfusion.cache import late, synced
from davfusion.cache.index import View
from davfusion.cache.node import ROOT_ID
from davfusion.cache.recovery import sweep_orphans
from davfusion.cache.share import Share
from davfusion.store.errors import NotFoundError, StoreError
from davfusion.sync.markers import Markers

log = logging.getLogger("davfusion.sync.upkeep")

CONFIRM_AFTER = 60.0
"""Seconds after a write after which its folder is listed, if nobody did, to see that the store has it."""
OPERATION_MEMORY = 3600.0
"""Seconds for which ended operations are remembered; no listing takes longer."""
LATE_MEMORY = 600.0
"""Seconds for which a write of ours may take effect after the store showed nothing of it. The request is on its way
then, or in the store: no connection and no server that we know keeps one longer."""
BATCH = 200
SPACE_EVERY = 300.0
SWEEP_EVERY = 3600.0
COLLECT_SHARE = 50.0
"""Collecting rests so many times as long as it took in the index."""
COLLECT_REST = 3.0
"""So many times as long as some contents took to be removed, others may have the index before the next."""
COLLECT_PATIENCE = 17.0
"""So many times longer, where others have had it in the meantime: what waits to be removed can wait until they rest."""
HURRY_FROM = 0.5
"""Share of the limit of the cache that is in use from which it cannot."""


class Upkeep:
    """Short tasks, each safe to stop at any moment. One thread at a time."""

    def __init__(self, share: Share, markers: Markers | None = None, *,
                 collecting: AbstractContextManager[object] | None = None) -> None:
        """`collecting` is entered while some contents are removed, for what must not happen meanwhile."""
        self._share = share
        self._markers = markers or Markers(share)
        self._collecting = collecting or nullcontext()
        self._index = share.index
        self._store = share.store
        self._space_asked = 0.0
        self._swept = 0.0
        self._collect_at = 0.0

    def run(self, stop: threading.Event, *, store_is_down: bool) -> None:
        """One round; ends early when `stop` is set. Problems are logged: the next round tries again."""
        try:
            self._run_here(stop)
            if store_is_down:
                return
            self.confirm(self._index.now() - CONFIRM_AFTER, stop)
            self.forget_late(stop)
            if not stop.is_set():
                self._markers.drop()
                self._note_space()
        except Exception as error:
            log.warning("upkeep postponed", extra={"problem": repr(error)})

    def run_chunked(self, stop: threading.Event, *, store_is_down: bool) -> None:
        """As `run`, where no file is an object of its own: there is nothing to confirm, and there are no markers."""
        try:
            self._run_here(stop)
            if not store_is_down:
                self._note_space()
        except Exception as error:
            log.warning("upkeep postponed", extra={"problem": repr(error)})

    def _run_here(self, stop: threading.Event) -> None:
        """What does not need the store."""
        self._collect_now_and_then(stop)
        self._sweep_now_and_then()
        self._index.write(lambda view: view.operations.prune(view.now() - OPERATION_MEMORY))

    def _collect_now_and_then(self, stop: threading.Event) -> None:
        """Collecting looks at every content: the more there are, the seldomer."""
        resumed, used = time.monotonic(), 0.0
        if resumed < self._collect_at:
            return

        def rest(seconds: float) -> None:
            nonlocal resumed, used
            turns = self._index.turns()
            stop.wait(COLLECT_REST * seconds)
            if self._index.turns() != turns and not self._hurries():
                stop.wait(COLLECT_PATIENCE * seconds)
            resumed, used = time.monotonic(), used + seconds

        self.collect(rest=rest)
        ended = time.monotonic()
        self._collect_at = ended + COLLECT_SHARE * (used + ended - resumed)

    def _hurries(self) -> bool:
        return self._share.space.used() > HURRY_FROM * self._share.space.limit

    def _sweep_now_and_then(self) -> None:
        if self._index.now() - self._swept >= SWEEP_EVERY:
            self._swept = self._index.now()
            sweep_orphans(self._index, self._share.files)

    def collect(self, rest: Callable[[float], object] | None = None) -> int:
        """Remove contents that nothing refers to any more, of those that there are now; returns how many.

        `rest` is called after each batch, with the seconds that it took in the index: who writes must not wait for
        all. To remove files, which may be large, keeps nobody from writing, so that no rest grows with it.
        """
        after, removed, last = 0, 0, self._index.view().contents.newest()
        while True:
            began = time.monotonic()
            batch = self._index.view().contents.unreferenced(after, BATCH, last=last)
            if not batch:
                return removed
            with self._collecting:
                files = self._index.write(partial(_remove, contents=batch))
            took = time.monotonic() - began
            self._remove_files(files)
            after, removed = batch[-1], removed + len(batch)
            if rest is not None:
                rest(took)

    def _remove_files(self, files: list[str]) -> None:
        """The files of removed contents. Their rows are gone for good before, also where commits are not flushed.

        After power loss no row may name bytes that are gone.
        """
        if files:
            self._index.flush()
        for file in files:
            self._share.files.remove(file)

    def confirm(self, before: float, stop: threading.Event) -> None:
        """List the folders whose last writes no listing has shown yet, until `stop` is set.

        Raises StoreError when the store fails; a folder that it refuses to list does not keep others from it.
        """
        refused: StoreError | None = None
        for folder in self._index.view().nodes.unconfirmed_folders(before, BATCH):
            if stop.is_set():
                return
            try:
                self._show(folder)
            except StoreError as error:
                if error.retryable:
                    raise
                refused = error
        if refused is not None:
            raise refused

    def forget_late(self, stop: threading.Event) -> None:
        """Look for the last time whether late writes have come, until `stop` is set. Raises StoreError."""
        folders = self._store.capabilities.folders
        for operation in self._index.view().operations.late(self._index.now() - LATE_MEMORY, BATCH):
            if stop.is_set():
                return
            try:
                shown = self._store.find(operation.path)
            except StoreError as error:
                if error.retryable:
                    raise
                log.warning("late write not looked for", extra={"path": operation.path, "problem": str(error)})
                self._index.write(partial(_forget, operation=operation.id))
                continue
            self._index.write(partial(late.forget, operation=operation, shown=shown, folders=folders))

    def _show(self, folder: str) -> None:
        """List a store folder; where it vanished, the ones above it up to one that is there."""
        while True:
            record = self._index.view().nodes.at_store(*synced.place_of(folder)) if folder else None
            if record is not None or not folder:
                try:
                    self._share.lister.refresh(ROOT_ID if record is None else record.id)
                    return
                except NotFoundError:
                    if not folder:
                        raise
            folder = folder.rpartition("/")[0]

    def _note_space(self) -> None:
        if self._index.now() - self._space_asked < SPACE_EVERY:
            return
        self._space_asked = self._index.now()
        free = self._store.get_free_space()
        self._index.write(lambda view: view.operations.set_meta("store_free", "" if free is None else str(free)))


def _forget(view: View, operation: int) -> None:
    view.operations.forget_late(operation)


def _remove(view: View, contents: list[int]) -> list[str]:
    return view.contents.remove_all_unreferenced(contents)
