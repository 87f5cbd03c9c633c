"""Bodies on their way in, in memory while they are small, then in a file that is locked for as long as it grows."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from davfusion.cache.errors import CacheFullError

try:
    import fcntl
except ImportError:  # Windows: one process, so nobody else's files can be in the folder
    fcntl = None  # type: ignore[assignment]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system answers when a file cannot grow."""


class Incoming:
    """One body on its way in. Nothing of it is visible before `Share.put`; dropping it discards it.

    In memory while it has at most `small` bytes, then in a file. To be used by one thread. As a context
    manager it is discarded on the way out unless it was published.
    """

    def __init__(self, folder: Path, length: int | None, *, flush: bool, small: int, admit: Callable[[int], None],
                 count: Callable[[int], None]) -> None:
        """`admit` is asked for room for each piece, `count` told what of the body is in memory, or was; in bytes."""
        self.path = folder
        """The file, once it is one; before, the folder where it would be."""
        self.size = 0
        self.checksum: int | None = None if flush else 0
        """CRC-32 of the bytes so far, kept where a file is not flushed before it is acknowledged."""
        self._length = length
        self._flush = flush
        self._small = small
        self._admit = admit
        self._count = count
        self._counted = 0
        self._closed = False
        self._descriptor = -1
        self._memory: bytearray | None = bytearray()
        if length is None or length <= small:
            self._count_memory(length or 0)
        else:
            self._spill()

    @property
    def in_memory(self) -> bytearray | None:
        """All of the body, where it is small enough to lie in the index."""
        return self._memory

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append; returns the bytes taken, which are all. Waits a bounded time when the cache is nearly full.

        Raises CacheFullError when there is no room for bytes that were not announced.
        """
        view = memoryview(data)
        self._admit(max(0, min(len(view), self.size + len(view) - (self._length or 0))))
        if self._memory is not None and self.size + len(view) > self._small:
            self._spill()
        if self._memory is None:
            self._append(view)
        else:
            self._memory += view
            self._count_memory(max(self._length or 0, len(self._memory)))
        self.size += len(view)
        return len(view)

    def _append(self, view: memoryview) -> None:
        written = 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            raise translated(error, self.path.name) from error
        if self.checksum is not None:
            self.checksum = zlib.crc32(view, self.checksum)

    def _spill(self) -> None:
        """Go on in a file."""
        begun, self._memory = self._memory, None
        self.path /= secrets.token_hex(16)
        try:
            self._descriptor = _create(self.path)
            if self._length:
                os.ftruncate(self._descriptor, self._length)
        except OSError as error:
            self.discard()
            raise translated(error, self.path.name) from error
        self._count_memory(0)
        self._append(memoryview(begun or b""))

    def _count_memory(self, size: int) -> None:
        if size != self._counted:
            self._count(size - self._counted)
            self._counted = size

    def seal(self) -> None:
        """The body is complete and to be a file: give back what it reserved and did not use, flush if asked to."""
        if self._memory is not None:
            self._spill()
        try:
            if self._length is not None and self._length != self.size:
                os.ftruncate(self._descriptor, self.size)
            if self._flush:
                os.fsync(self._descriptor)
        except OSError as error:
            raise translated(error, self.path.name) from error

    def release(self) -> None:
        """The bytes are a content now and not this object's any more."""
        self._close()

    def discard(self) -> None:
        """Remove the body, unless it was published; may be called again."""
        if self._closed:
            return
        if self._descriptor >= 0:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        self._close()

    def _close(self) -> None:
        self._closed = True
        self._count_memory(0)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.discard()

    def __del__(self) -> None:
        self.discard()


def _create(path: Path) -> int:
    """A new file that is locked for as long as it is open: who can lock it knows that its process died."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        if fcntl is None:
            return descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # a sweep came between creation and lock


def sweep(path: Path) -> bool:
    """Remove a body if nobody has it locked; returns whether it was removed."""
    try:
        if fcntl is None:
            path.unlink()
            return True
        with path.open("rb") as opened:
            fcntl.flock(opened.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    return True


def translated(error: OSError, name: str) -> Exception:
    """The error to raise: CacheFullError where the disk has no room."""
    if error.errno in NO_SPACE:
        return CacheFullError("The disk of the cache is full", name)
    return error
