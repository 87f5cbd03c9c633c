"""Whose turn it is to write, among processes: a lock on a file of its own that the kernel hands over without polling.

It only orders the writers. What keeps them apart is SQLite's own lock, which those ask for too who do not take turns,
and on systems without such locks everybody. SQLite's files themselves must never be opened for this: closing them
would drop the locks that SQLite holds on them (POSIX).

The file counts the turns, in eight bytes of the machine's order: odd while one is taken, even between two. All
processes have it in memory, so that to see that nobody has written costs no system call.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: one process
    fcntl = None  # type: ignore[assignment]

_SIZE = 8
_MASK = (1 << 64) - 1


class Turn:
    """The turn to write to one index. For one thread of a process at a time; it ends with its process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600) if fcntl is not None else -1
        self._count = _shared_number(self._descriptor)

    @property
    def count(self) -> int:
        """Another one after each turn, before anybody learns that something was written in it.

        Odd while a turn is taken, also by a process that died in it. Any thread may ask.
        """
        return self._count[0]

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, however long others have it, and hold it."""
        locked = self._lock()
        self._count[0] = (self._count[0] | 1) if locked else self._beyond()
        try:
            yield
        finally:
            self._count[0] = (self._count[0] + 1) & _MASK if locked else self._beyond()
            if locked:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the turn must not be held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self) -> bool:
        """False where the file system knows no such locks."""
        if self._descriptor < 0:
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError:
            return False
        return True

    def _beyond(self) -> int:
        """A count that is new and tells nothing, for who writes without the lock."""
        return ((self._count[0] + 2) | 1) & _MASK


def _shared_number(descriptor: int) -> memoryview:
    """The number in an open file, in memory; without a file one that is odd for ever."""
    if descriptor < 0:
        return memoryview(bytearray(b"\xff" * _SIZE)).cast("Q")
    if os.fstat(descriptor).st_size < _SIZE:
        os.ftruncate(descriptor, _SIZE)
    return memoryview(mmap.mmap(descriptor, _SIZE)).cast("Q")
