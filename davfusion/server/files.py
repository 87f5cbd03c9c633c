"""Files as response bodies: `wsgi.file_wrapper` (PEP 3333)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any

_BLOCK = 256 * 1024


class FileWrapper:
    """A response body that is read from a file, from its present position on.

    A regular file is sent by the kernel: `filelike` then needs no more than `fileno()` and `tell()`,
    and its position is not moved, so that threads may share one descriptor. Anything else needs
    `read(size)`. The response's Content-Length says how much is sent; without it, all there is.
    """

    def __init__(self, filelike: Any, block_size: int = _BLOCK) -> None:
        self._file = filelike
        self._block_size = max(block_size, _BLOCK)

    def extent(self) -> tuple[int, int, int] | None:
        """Descriptor, offset and bytes up to the end of a regular file.

        None for anything else, and on systems that cannot read a file at a given offset.
        """
        if not hasattr(os, "preadv"):
            return None
        try:
            descriptor: int = self._file.fileno()
            offset: int = self._file.tell()
        except (AttributeError, OSError):
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        return descriptor, offset, max(status.st_size - offset, 0)

    def __iter__(self) -> Iterator[bytes]:
        while block := self._file.read(self._block_size):
            yield block

    def close(self) -> None:
        """Close the file, where it can be closed."""
        close = getattr(self._file, "close", None)
        if close is not None:
            close()
