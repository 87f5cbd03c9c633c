"""Reads one content: from its cache file when it is whole, else block by block as they arrive."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from davfusion.cache.blocks import BLOCK, BlockFile
from davfusion.cache.fetch import WINDOW, Fetcher, changed_in_store
from davfusion.cache.index import Index
from davfusion.cache.passing import PassingStream
from davfusion.store.errors import ConflictError, NotFoundError, TemporaryError

if TYPE_CHECKING:
    from typing_extensions import Buffer

log = logging.getLogger("davfusion.cache.reader")

T = TypeVar("T")

DEADLINE = 120.0
"""Seconds that a reader waits for a block before it gives up."""
AHEAD = 4
"""Windows that are fetched at the same time at most, when reading goes straight on."""
PAUSES = (0.0, 0.2, 0.5)
"""Seconds before a transfer that failed is taken up again."""
LONGEST_RETRY_AFTER = 2.0
"""Seconds; a store that asks for more patience than this is not asked again for the same read."""


class WholeReader(io.FileIO):
    """A content that is wholly in the cache: a real file, fit for sendfile. It stays readable when evicted."""

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__(descriptor, "rb", closefd=True)
        self.size = size

    @property
    def whole_file(self) -> BinaryIO | None:
        """The real file."""
        return self


class SmallReader(io.BytesIO):
    """A small content that is at hand, whatever becomes of the place where it was."""

    whole_file: BinaryIO | None = None

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size = len(data)


class BlockReader(io.RawIOBase):
    """A content that is partly, or not at all, in the cache. For one thread at a time.

    Reading a missing block fetches it by range; reading straight on fetches further windows in
    parallel, ever more of them. A cut transfer is taken up again a few times. Raises StoreError from
    read, after which reading may be tried again; TemporaryError when the store holds another version
    by now. Closing interrupts what is under way.
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
        self._passing: PassingStream | None = None
        self._interrupt = threading.Event()

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
        if self._position >= self.size or not view:
            return 0
        data = self._attempts(lambda: self._read_some(len(view)))
        view[:len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if self.closed:
            return
        self._interrupt.set()
        self._drop_passing()
        for _, future in self._windows.values():
            if not future.cancel():
                future.exception()  # a fetch that runs uses the files: let it end before they are closed
        self._blocks.close()
        super().close()

    def prepare(self) -> None:
        """Have the block at the present position, so that errors come before a response has begun."""
        if self._position < self.size:
            self._attempts(lambda: self._ensure(self._position // BLOCK))

    def _attempts(self, action: Callable[[], T]) -> T:
        def tried() -> T:
            try:
                return action()
            except TemporaryError:
                self._drop_passing()
                raise

        return attempts(tried, self._index, self._content, self._interrupt)

    def _read_some(self, length: int) -> bytes:
        block = self._position // BLOCK
        if self._passing is not None and self._passing.position == self._position:
            return self._passing.read(length)
        self._drop_passing()
        if self._ensure(block):
            stop = min((block + 1) * BLOCK, self.size, self._position + length)
            return self._blocks.read(self._position, stop - self._position)
        pieces = self._fetcher.stream(self._content, self._position, self.size, interrupt=self._interrupt)
        self._passing = PassingStream(pieces, self._position)
        return self._passing.read(length)

    def _drop_passing(self) -> None:
        if self._passing is not None:
            self._passing.close()
            self._passing = None

    def _ensure(self, block: int) -> bool:
        """Have the block; False when there is no room to keep it. Starts reading ahead on straight reads."""
        if block not in (self._expected, self._expected - 1):
            self._run = 0
        if block != self._expected - 1:
            self._run += 1
        self._expected = block + 1
        self._read_ahead(block)
        if self._blocks.present(block):
            return True
        future = next(
            (future for first, (last, future) in self._windows.items() if first <= block <= last), None)
        if future is None:
            future = self._ask(block, block)
        if not self._blocks.wait(block, future.done, DEADLINE):
            raise TemporaryError("The store does not send the file", retry_after=30.0)
        return self._blocks.present(block) or (future.result() and self._blocks.present(block))

    def _read_ahead(self, block: int) -> None:
        """The longer reading goes straight on, the more windows are under way."""
        self._windows = {first: (last, future) for first, (last, future) in self._windows.items()
                         if not future.done() or (last >= block and future.exception() is None)}
        if self._run < 2 and not (block == 0 and self._blocks.count <= WINDOW):
            return
        first = block
        for _ in range(min(AHEAD, self._run)):
            first, last = self._unasked_window(first)
            if first >= self._blocks.count or len(self._windows) >= AHEAD:
                return
            if self._blocks.missing(first, last):
                self._ask(first, last)
            first = last + 1

    def _ask(self, first: int, last: int) -> Future[bool]:
        future = self._fetcher.begin(self._content, self._blocks, first, last, interrupt=self._interrupt)
        self._windows[first] = (last, future)
        return future

    def _unasked_window(self, block: int) -> tuple[int, int]:
        """The first window from `block` on of which nothing is asked for."""
        for first in sorted(self._windows):
            last = self._windows[first][0]
            if first <= block <= last:
                block = last + 1
        following = min((first for first in self._windows if first > block), default=self._blocks.count)
        return block, min(block + WINDOW, self._blocks.count, following) - 1


def attempts(action: Callable[[], T], index: Index, content: int, interrupt: threading.Event) -> T:
    """Do what asks the store for a part of a content, and try again a few times where that may help.

    Raises StoreError; TemporaryError when the store holds another version by now. `interrupt` ends the waiting.
    """
    for pause in (*PAUSES, None):
        try:
            return action()
        except (ConflictError, NotFoundError) as error:
            raise changed_in_store(index, content, error) from error
        except TemporaryError as error:
            if pause is None or (error.retry_after or 0) > LONGEST_RETRY_AFTER:
                raise
            log.info("read taken up again", extra={"content": content, "problem": str(error)})
            interrupt.wait(pause)
    raise AssertionError("the last attempt returns or raises")


Reader = WholeReader | SmallReader | BlockReader
