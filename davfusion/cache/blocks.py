"""A cache file of which only some blocks are present, and the map that says which.

    <token>      the bytes, sparse
    <token>.map  one byte a block: 1 when the block is present

A block is marked after its bytes were written, by whichever process fetched it. Who fetches a block
holds an advisory lock on its byte of the map, so two processes that want one block fetch it once; the
lock goes with its holder, however that ends.

The two are made once, before any row of the index names them, and never again under the same name: a map that outlived
its bytes for a moment, while they are evicted, would tell of blocks that are not there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from davfusion.cache.contents import map_path
from davfusion.cache.spans import SPANS, locked_span

BLOCK = 1024 * 1024
"""Bytes of a block; the last one of a file may be shorter."""

_PRESENT = b"\x01"
_EXISTING = os.O_RDWR | getattr(os, "O_BINARY", 0)


def make_block_file(path: Path) -> None:
    """Make a cache file of which no block is present. Raises FileExistsError: a name is used once."""
    for new in (path, map_path(path)):
        os.close(os.open(new, _EXISTING | os.O_CREAT | os.O_EXCL, 0o600))


class BlockFile:
    """One partial cache file, opened for reading and filling. Thread-safe; close it when done."""

    def __init__(self, path: Path, size: int) -> None:
        """Raises FileNotFoundError when it was evicted, or is being evicted."""
        self.size = size
        self.name = path.name
        """Name of the cache file, for as long as this is open: the content may have another one by now."""
        self._data = os.open(path, _EXISTING)
        try:
            self._map = os.open(map_path(path), _EXISTING)
        except BaseException:
            os.close(self._data)
            raise
        self._own_lock = threading.Lock()
        self._arrival = threading.Condition()

    @property
    def count(self) -> int:
        """How many blocks the whole content has."""
        return -(-self.size // BLOCK)

    def present(self, block: int) -> bool:
        """Whether the block is in the file."""
        return os.pread(self._map, 1, block) == _PRESENT

    def missing(self, first: int, last: int) -> list[int]:
        """The blocks from first to last, inclusive, that are not in the file."""
        flags = os.pread(self._map, last - first + 1, first).ljust(last - first + 1, b"\0")
        return [first + offset for offset, flag in enumerate(flags) if flag != 1]

    def complete(self) -> bool:
        """Whether every block is in the file."""
        return self.count == 0 or not self.missing(0, self.count - 1)

    def read(self, position: int, length: int) -> bytes:
        """Bytes that are known to be present."""
        return os.pread(self._data, length, position)

    def write(self, position: int, data: bytes) -> None:
        """Put bytes in their place; they count only when their block is marked."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._data, view, position)
            position += written
            view = view[written:]

    def mark(self, block: int) -> None:
        """All bytes of the block have been written."""
        os.pwrite(self._map, _PRESENT, block)
        self.wake()

    def wait(self, block: int, over: Callable[[], bool], seconds: float) -> bool:
        """Wait until the block is marked through this object, or `over` tells so, or the time is up (then False)."""
        with self._arrival:
            return self._arrival.wait_for(lambda: self.present(block) or over(), seconds)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        with self._arrival:
            self._arrival.notify_all()

    def flush(self) -> None:
        """Put the bytes on stable storage."""
        os.fsync(self._data)

    @contextmanager
    def fetching(self, first: int, last: int) -> Iterator[None]:
        """Hold the right to fetch the blocks from first to last, inclusive; waits for who holds it."""
        if not SPANS:
            with self._own_lock:
                yield
            return
        with locked_span(self._map, first, last - first + 1):
            yield

    def close(self) -> None:
        """Close the files; a block being fetched must be finished first."""
        if self._data >= 0:
            os.close(self._data)
            os.close(self._map)
            self._data = self._map = -1


def block_range(block: int, size: int) -> tuple[int, int]:
    """The bytes [start, stop) of a block in a content of `size` bytes."""
    return block * BLOCK, min(size, (block + 1) * BLOCK)
