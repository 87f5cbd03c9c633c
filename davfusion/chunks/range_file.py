"""RangeFile: an object of a store as a file object that is read from its end, in few requests."""

from __future__ import annotations

import os

from davfusion.chunks.errors import DamagedError
from davfusion.store.interface import Store

WINDOW = 256 * 1024
"""Bytes that are fetched at least."""


class RangeFile:
    """A read-only, seekable file object. Not thread-safe.

    It holds the end of the object, from the first byte that was asked for: a read before that fetches what is
    missing, WINDOW bytes at least. All bytes are of the version that was there at the beginning. Raises
    StoreError, ConflictError when the object was replaced meanwhile.
    """

    def __init__(self, store: Store, path: str) -> None:
        found = store.get_metadata(path)
        self._store, self._path, self._version, self._size = store, path, found.version, found.bytes
        self._held = b""
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("There is nothing before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes from the position; fewer only at the end."""
        self._hold(self._position)
        first = self._position - (self._size - len(self._held))
        data = self._held[first:] if size < 0 else self._held[first:first + size]
        self._position += len(data)
        return data

    def close(self) -> None:
        """Forget what was read."""
        self._held = b""

    def _hold(self, start: int) -> None:
        begin = self._size - len(self._held)
        if start >= begin:
            return
        start = max(0, min(start, begin - WINDOW))
        piece = self._store.get_range(self._path, start, begin, if_version=self._version)
        if len(piece) != begin - start:
            raise DamagedError(self._path, f"it has fewer than {self._size} bytes")
        self._held = piece + self._held
