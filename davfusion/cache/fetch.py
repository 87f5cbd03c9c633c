"""Brings contents from the store into the cache: block ranges on demand, whole contents for the engine."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from davfusion.cache.blocks import BLOCK, BlockFile, block_range, make_block_file
from davfusion.cache.contents import ContentFiles
from davfusion.cache.errors import CacheFullError
from davfusion.cache.incoming import NO_SPACE
from davfusion.cache.index import Content, Index, View
from davfusion.cache.source import Source
from davfusion.cache.space import Space
from davfusion.cache.statistics import AccessCounter
from davfusion.store.errors import ConflictError, NotFoundError, TemporaryError

log = logging.getLogger("davfusion.cache.fetch")

SMALL_BATCH = 64
"""Small contents that one transaction keeps at most."""
WINDOW = 8
"""Blocks asked for in one request when reading ahead."""


class Fetcher:
    """Fetches parts of contents. Thread-safe; other processes may fetch into the same files."""

    def __init__(self, index: Index, source: Source, files: ContentFiles, space: Space, accesses: AccessCounter
                 ) -> None:
        self._index = index
        self._source = source
        self._files = files
        self._space = space
        self._accesses = accesses
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="fetch")

    def open(self, content: Content) -> BlockFile | None:
        """The cache file of a content that is not whole, made if need be; None when the content, or its file, is gone
        by now."""
        if content.file is not None and (blocks := self._opened(content.file, content.size)) is not None:
            return blocks
        file = self._make(content)
        return None if file is None else self._opened(file, content.size)

    def _opened(self, file: str, size: int) -> BlockFile | None:
        """None when it is evicted."""
        try:
            return BlockFile(self._files.path(file), size)
        except FileNotFoundError:
            return None

    def _make(self, content: Content) -> str | None:
        """The name of a new cache file, or of the one that another made meanwhile; None when the content is gone.

        A file that the index still names although it is not there is lost, and this one takes its place.
        """
        made = self._files.new_name()
        make_block_file(self._files.path(made))
        named = self._index.write(
            lambda view: view.contents.materialise(content.id, made, self._index.now(), lost=content.file))
        if named != made:
            self._files.remove(made)
        if content.file is not None and named != content.file:
            self._files.remove(content.file)
        return named

    def begin(self, content: int, blocks: BlockFile, first: int, last: int, *,
              interrupt: threading.Event | None = None) -> Future[bool]:
        """Fetch the missing blocks from first to last in the background; the result is that of `fetch`."""
        future = self._pool.submit(self.fetch, content, blocks, first, last, interrupt=interrupt)
        future.add_done_callback(lambda _: blocks.wake())
        return future

    def fetch(self, content: int, blocks: BlockFile, first: int, last: int, *,
              interrupt: threading.Event | None = None) -> bool:
        """Fetch the missing blocks from first to last, inclusive; False when there is no room to keep them.

        What arrived before an error is kept. Raises StoreError; ConflictError when the store does not hold
        this content any more.
        """
        with blocks.fetching(first, last):
            missing = blocks.missing(first, last)
            if not missing:
                return True
            start, stop = block_range(missing[0], blocks.size)[0], block_range(missing[-1], blocks.size)[1]
            if not self._space.make_room(stop - start):
                return False
            try:
                self._fill(content, blocks, start, stop, interrupt)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                return False
        return True

    def stream(self, content: int, start: int, stop: int, *, interrupt: threading.Event | None = None
               ) -> Iterator[bytes]:
        """Bytes of a content straight from the store, kept nowhere. Raises as `fetch`."""
        return self._counted(self._source.read(content, start, stop, interrupt=interrupt))

    def fetch_small(self, content: Content) -> bytes:
        """All bytes of a small content of which nothing is here, by one request; kept in the index if there is room,
        with what came along.

        Who wants them at the same time, in whatever process, waits and finds them there. Raises as `fetch`.
        """
        with self._files.fetching(content.id):
            row = self._index.view().contents.opened(content.id)
            if row is not None and row[1] is not None:
                return row[1]
            began = time.monotonic()
            found = self._source.read_small(content, self._files.small)
            self._accesses.downloaded(sum(map(len, found.values())), time.monotonic() - began)
            if len(found[content.id]) != content.size:
                raise TemporaryError("The store sent fewer bytes than it holds", retry_after=1.0)
            if self._space.make_room(sum(map(len, found.values()))):
                with contextlib.suppress(CacheFullError):
                    self._keep(list(found.items()))
        return found[content.id]

    def _keep(self, found: list[tuple[int, bytes]]) -> None:
        for start in range(0, len(found), SMALL_BATCH):
            batch = found[start:start + SMALL_BATCH]
            self._index.write(lambda view, batch=batch: _keep_small(view, batch))  # type: ignore[misc]

    def is_small(self, content: Content) -> bool:
        """Whether a content of which nothing is here is to be held in the index."""
        return content.file is None and content.size <= self._files.small

    def fetch_whole(self, content: int) -> bool:
        """Have every byte of a content here; False when there is no room. Raises as `fetch`."""
        row = self._index.view().contents.get(content)
        if row is None or row.whole:
            return row is not None
        if self.is_small(row):
            self.fetch_small(row)
            kept = self._index.view().contents.get(content)
            return kept is not None and kept.whole
        blocks = self.open(row)
        if blocks is None:
            return False
        try:
            for first in range(0, blocks.count, WINDOW):
                if not self.fetch(content, blocks, first, min(first + WINDOW, blocks.count) - 1):
                    return False
        finally:
            blocks.close()
        return True

    def close(self) -> None:
        """Wait for fetches under way and stop."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self, content: int, blocks: BlockFile, start: int, stop: int, interrupt: threading.Event | None
              ) -> None:
        position, marked, kept = start, start // BLOCK, 0
        pieces = self.stream(content, start, stop, interrupt=interrupt)
        try:
            for piece in pieces:
                blocks.write(position, piece)
                position += len(piece)
                while marked < blocks.count and position >= block_range(marked, blocks.size)[1]:
                    kept += self._mark(blocks, marked)
                    marked += 1
        finally:
            if kept:
                self._account(content, blocks, kept)
        if position != stop:
            raise TemporaryError("The store sent fewer bytes than it holds", retry_after=1.0)

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with contextlib.ExitStack() as stack:
            if (close := getattr(pieces, "close", None)) is not None:
                stack.callback(close)
            while True:
                began = time.monotonic()
                piece = next(pieces, None)
                if piece is None:
                    return
                self._accesses.downloaded(len(piece), time.monotonic() - began)
                yield piece

    @staticmethod
    def _mark(blocks: BlockFile, block: int) -> int:
        if blocks.present(block):
            return 0
        blocks.mark(block)
        start, stop = block_range(block, blocks.size)
        return stop - start

    def _account(self, content: int, blocks: BlockFile, kept: int) -> None:
        """Count what was kept, unless the file was evicted meanwhile: then it counts for nothing and ends with its
        last reader."""
        if not self._index.write(lambda view: view.contents.add_held(content, blocks.name, kept)):
            return
        if blocks.complete():
            blocks.flush()
            self._index.write(lambda view: view.contents.complete(content, blocks.name))


def _keep_small(view: View, found: list[tuple[int, bytes]]) -> None:
    now = view.now()
    for content, data in found:
        view.contents.keep_small(content, data, now)


def changed_in_store(index: Index, content: int, error: NotFoundError | ConflictError) -> TemporaryError:
    """The store does not hold what the index says: have its folder listed anew; returns what to tell the client."""
    for holder in index.view().nodes.holders(content):
        if holder.synced_parent is not None:
            parent = holder.synced_parent
            index.write(lambda view, parent=parent: view.nodes.relist(parent))  # type: ignore[misc]
    log.info("content not in the store as known", extra={"content": content, "problem": str(error)})
    return TemporaryError("The file was changed in the store just now", error.path, retry_after=1.0)
