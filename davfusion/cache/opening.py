"""Opens a file for reading: what is whole from the index or a cache file, else what there is of it and the store."""

from __future__ import annotations

import errno
import logging
import os
import threading

from davfusion.cache.contents import ContentFiles
from davfusion.cache.errors import NoSuchNodeError
from davfusion.cache.fetch import Fetcher
from davfusion.cache.index import Content, Index, View
from davfusion.cache.node import Node
from davfusion.cache.reader import BlockReader, Reader, SmallReader, WholeReader, attempts
from davfusion.cache.statistics import AccessCounter
from davfusion.store.errors import TemporaryError

log = logging.getLogger("davfusion.cache.opening")

ATTEMPTS = 50
"""Times that a content is opened anew because it was evicted meanwhile. Each takes milliseconds, and whoever evicts all
the time wins about every second one."""


class Opener:
    """Opens the contents of one share. Thread-safe; other processes may evict them meanwhile."""

    def __init__(self, index: Index, files: ContentFiles, fetcher: Fetcher, accesses: AccessCounter) -> None:
        self._index = index
        self._files = files
        self._fetcher = fetcher
        self._accesses = accesses

    def open(self, node: Node) -> Reader:
        """Open a file from its beginning; the first bytes are at hand when this returns.

        Raises NoSuchNodeError when the file is gone, StoreError; OSError when bytes that are nowhere else are lost.
        """
        missing = None
        for _ in range(ATTEMPTS):
            opened = self._index.view().contents.opened(node.content or 0)
            if opened is None:
                raise NoSuchNodeError("The file was deleted just now", node.path)
            content, data = opened
            self._accesses.use(content.id, content.used)
            if content.size == 0:
                return SmallReader(b"")
            if data is not None:
                self._accesses.hit()
                return SmallReader(data)
            if content.file is not None and content.file == missing:
                self._lose(content, node.path)
            reader = self._open(content)
            if reader is not None:
                return reader
            missing = content.file
        raise TemporaryError("The file is being evicted again and again", node.path, retry_after=1.0)

    def _open(self, content: Content) -> Reader | None:
        """A reader; None when the cache file went away just now."""
        if content.whole and content.file is not None:
            try:
                descriptor = os.open(self._files.path(content.file), os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except FileNotFoundError:
                return None
            self._accesses.hit()
            return WholeReader(descriptor, content.size)
        if self._fetcher.is_small(content):
            self._accesses.miss()
            return SmallReader(attempts(
                lambda: self._fetcher.fetch_small(content), self._index, content.id, threading.Event()))
        blocks = self._fetcher.open(content)
        if blocks is None:
            return None
        self._accesses.miss()
        reader = BlockReader(self._index, self._fetcher, content.id, blocks)
        try:
            reader.prepare()
        except BaseException:
            reader.close()
            raise
        return reader

    def _lose(self, content: Content, path: str) -> None:
        """The index still names a file that is not there: the store's copy is the only one, if it has one."""
        def change(view: View) -> bool:
            row = view.contents.get(content.id)
            if row is None or row.file != content.file:
                return True
            held = any(holder.confirmed for holder in view.nodes.holders(content.id))
            if held:
                view.contents.lose(content.id)
            return held

        log.error("cache file missing", extra={"path": path, "file": content.file})
        if not self._index.write(change):
            raise OSError(errno.EIO, "The bytes of this file were not uploaded yet and are missing on this machine",
                          str(self._files.path(content.file or "")))
