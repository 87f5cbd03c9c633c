"""Bounds what power loss can cost where changes are acknowledged before they are flushed (process-safe)."""

from __future__ import annotations

import logging
import threading

from davfusion.cache.contents import ContentFiles
from davfusion.cache.index import Index

log = logging.getLogger("davfusion.cache.flusher")

EVERY = 1.0
"""Seconds between two flushes."""


class Flusher:
    """A thread that flushes once a second what was acknowledged since. Several processes may have one each."""

    def __init__(self, index: Index, files: ContentFiles) -> None:
        self._index = index
        self._files = files
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Flush once more and end; may be called again."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()

    def flush(self) -> None:
        """Put every content and then the index on stable storage.

        The contents come first, so that a row which says that its file is flushed tells the truth. Those that lie in
        the index need nothing else than its flush. Files are flushed by one process at a time, for all: the next one
        finds nothing left.
        """
        with self._files.flushing():
            self._flush_files()
        self._index.flush()

    def _flush_files(self) -> None:
        waiting = {content.file: content.id for content in self._index.view().contents.unflushed()}
        flushed = self._files.flush_files(file for file in waiting if file is not None)
        if flushed:
            self._index.write(lambda view: view.contents.flushed([waiting[file] for file in flushed]))

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.flush()
            except Exception:
                log.exception("flush failed")
