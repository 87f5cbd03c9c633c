"""Bytes on their way from the store to one reader, where there is no room to keep them."""

from __future__ import annotations

from collections.abc import Iterator

from davfusion.store.errors import TemporaryError


class PassingStream:
    """A stream of the store, read in pieces of any size. For one thread; close it when done.

    `position` is where in the content the next byte belongs.
    """

    def __init__(self, pieces: Iterator[bytes], position: int) -> None:
        self.position = position
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, length: int) -> bytes:
        """The next bytes, at least one and at most `length`. Raises StoreError; TemporaryError at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                raise TemporaryError("The store sent fewer bytes than it holds", retry_after=1.0)
            self._rest = memoryview(piece)
        data = bytes(self._rest[:length])
        self._rest = self._rest[length:]
        self.position += len(data)
        return data

    def close(self) -> None:
        """End the transfer."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()
