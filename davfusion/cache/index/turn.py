"""Whose turn it is to write, among processes: a lock on a file of its own that the kernel hands over without polling.

It only orders the writers. What keeps them apart is SQLite's own lock, which those ask for too who do not take turns,
and on systems without such locks everybody. SQLite's files themselves must never be opened for this: closing them
would drop the locks that SQLite holds on them (POSIX).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: one process
    fcntl = None  # type: ignore[assignment]


class Turn:
    """The turn to write to one index. For one thread of a process at a time; it ends with its process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600) if fcntl is not None else -1

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, however long others have it, and hold it."""
        if not self._lock():
            yield
            return
        try:
            yield
        finally:
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
