"""Locks on parts of a file that belong to an opening of it, so that they keep threads apart as well as processes.

A lock goes with its holder, however that ends.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import fcntl
    _OFD_WAIT: int | None = getattr(fcntl, "F_OFD_SETLKW", None)
except ImportError:
    _OFD_WAIT = None

_FLOCK = "hhqqi4x"

SPANS = _OFD_WAIT is not None
"""Whether this system has such locks."""


@contextmanager
def locked_span(descriptor: int, start: int, length: int) -> Iterator[None]:
    """Hold the lock on bytes that need not exist; waits for other openings. Where SPANS is False nothing is held."""
    if _OFD_WAIT is None:
        yield
        return
    fcntl.fcntl(descriptor, _OFD_WAIT, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    try:
        yield
    finally:
        fcntl.fcntl(descriptor, _OFD_WAIT, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, start, length, 0))
