"""Reads one content: from its cache file when it is whole, else block by block as they arrive."""

from __future__ import annotations

import io
import os
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, BinaryIO

from davfusion.cache.blocks import BLOCK, BlockFile
from davfusion.cache.fetch import WINDOW, Fetcher, changed_in_store
from davfusion.cache.index import Index
from davfusion.store.errors import ConflictError, NotFoundError, TemporaryError

if TYPE_CHECKING:
    from typing_extensions import Buffer

DEADLINE = 120.0
"""Seconds that a reader waits for a block before it gives up."""
AHEAD = 4
"""Windows that are fetched at the same time at most, when reading goes straight on."""
POLL = 0.02


class WholeReader(io.FileIO):
    """A content that is wholly in the cache: a real file, fit for sendfile. It stays readable when evicted."""

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__(descriptor, "rb", closefd=True)
        self.size = size

    @property
    def whole_file(self) -> BinaryIO | None:
        """The real file."""
        return self


class BlockReader(io.RawIOBase):
    """A content that is partly, or not at all, in the cache. For one thread at a time.

    Reading a missing block fetches it by range; reading straight on fetches further windows in
    parallel, ever more of them. Raises StoreError from read; TemporaryError when the store holds
    another version by now.
    """

    whole_file: BinaryIO | None = None

    def __init__(self, index: Index, fetcher: Fetcher, content: int, blocks: BlockFile) -> None:
        super().__init__()
        self.size = blocks.size
        self._index = index
        self._fetcher = fetcher
        self._content = content
        self._blocks = blocks
        self._position = 0
        self._expected = 0
        self._run = 0
        self._windows: dict[int, tuple[int, Future[bool]]] = {}
        """What is asked for: first block to last block and the fetch."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read_some(len(view))
        view[:len(data)] = data
        return len(data)

    def close(self) -> None:
        if self.closed:
            return
        for _, future in self._windows.values():
            if not future.cancel():
                _wait_out(future)
        self._blocks.close()
        super().close()

    def prepare(self) -> None:
        """Have the block at the present position, so that errors come before a response has begun."""
        if self._position < self.size:
            self._ensure(self._position // BLOCK)

    def _read_some(self, length: int) -> bytes:
        if self._position >= self.size or length <= 0:
            return b""
        block = self._position // BLOCK
        stop = min((block + 1) * BLOCK, self.size, self._position + length)
        if self._ensure(block):
            data = self._blocks.read(self._position, stop - self._position)
        else:
            data = self._direct(self._position, stop)
        self._position += len(data)
        return data

    def _ensure(self, block: int) -> bool:
        """Have the block; False when there is no room to keep it. Starts reading ahead on straight reads."""
        if block != self._expected:
            self._run = 0
        self._expected = block + 1
        self._run += 1
        self._read_ahead(block)
        if self._blocks.present(block):
            return True
        future = next(
            (future for first, (last, future) in self._windows.items() if first <= block <= last), None)
        if future is None:
            future = self._fetcher.begin(self._content, self._blocks, block, block)
            self._windows[block] = (block, future)
        return self._wait(block, future)

    def _wait(self, block: int, future: Future[bool]) -> bool:
        waited = 0.0
        while not self._blocks.present(block):
            try:
                kept = future.result(timeout=POLL)
            except FutureTimeoutError:
                waited += POLL
                if waited > DEADLINE:
                    raise TemporaryError("The store does not send the file", retry_after=30.0) from None
                continue
            except (ConflictError, NotFoundError) as error:
                raise changed_in_store(self._index, self._content, error) from error
            return kept and self._blocks.present(block)
        return True

    def _read_ahead(self, block: int) -> None:
        """The longer reading goes straight on, the more windows are under way."""
        self._windows = {first: (last, future) for first, (last, future) in self._windows.items()
                         if not future.done() or last >= block}
        if self._run < 2 and not (block == 0 and self._blocks.count <= WINDOW):
            return
        first, wanted = block, min(AHEAD, self._run)
        for _ in range(wanted):
            first = self._first_unasked(first)
            if first >= self._blocks.count or len(self._windows) >= AHEAD:
                return
            last = min(first + WINDOW, self._blocks.count) - 1
            if self._blocks.missing(first, last):
                self._windows[first] = (last, self._fetcher.begin(self._content, self._blocks, first, last))
            first = last + 1

    def _first_unasked(self, block: int) -> int:
        for first in sorted(self._windows):
            last = self._windows[first][0]
            if first <= block <= last:
                block = last + 1
        return block

    def _direct(self, start: int, stop: int) -> bytes:
        try:
            return b"".join(self._fetcher.stream(self._content, start, stop))
        except (ConflictError, NotFoundError) as error:
            raise changed_in_store(self._index, self._content, error) from error


Reader = WholeReader | BlockReader


def _wait_out(future: Future[bool]) -> None:
    """A fetch that runs uses the files: let it end before they are closed."""
    future.exception()
