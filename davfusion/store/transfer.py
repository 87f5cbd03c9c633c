"""What every backend needs around a transfer: pieces of bounded size, interruption, checks of paths."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import BinaryIO

from davfusion.store.errors import PermanentError, TransferInterruptedError

PIECE = 1024 * 1024
"""Bytes of the pieces in which contents travel."""


def check_interrupt(interrupt: threading.Event | None, path: str) -> None:
    """Raise TransferInterruptedError when the event is set."""
    if interrupt is not None and interrupt.is_set():
        raise TransferInterruptedError("The transfer was interrupted", path)


def pieces(fileobject: BinaryIO, path: str, interrupt: threading.Event | None = None) -> Iterator[bytes]:
    """The bytes of the file object from where it stands to its end; looks at `interrupt` before each piece.

    `path` is for the error only. Raises TransferInterruptedError.
    """
    check_interrupt(interrupt, path)
    while piece := fileobject.read(PIECE):
        yield piece
        check_interrupt(interrupt, path)


def check_apart(source: str, destination: str) -> None:
    """Raise PermanentError when one path lies below the other, as a folder cannot go into itself."""
    if is_below(destination, source) or is_below(source, destination):
        raise PermanentError(f"A folder cannot be copied or moved into itself or over a parent: {source}",
                             destination)


def is_below(path: str, directory: str) -> bool:
    """Whether `path` lies below the folder, at any depth."""
    return path.startswith(directory if directory == "/" else directory + "/") and path != directory


def bounds(size: int, start: int, stop: int | None) -> tuple[int, int]:
    """[start, stop) cut to an object of `size` bytes; empty ranges come out with start == stop.

    Raises ValueError for a negative number.
    """
    if start < 0 or (stop is not None and stop < 0):
        raise ValueError(f"A range has no negative ends: {start}, {stop}")
    end = size if stop is None else min(stop, size)
    return min(start, end), end
