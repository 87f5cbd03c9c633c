"""Contents on their way in, and the cache files of those that do not lie in the index.

A body stays in memory as long as it is small and goes into the index then. A larger one is a file:

    incoming/<token>        a body on its way in; its size on disk is the room it has reserved
    contents/<xx>/<token>   a content, or the present parts of one (then with <token>.map beside it)

A token is never used twice, so a file that was evicted can not be confused with its successor. A file
that no index row names is an orphan of a crash and is swept.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from davfusion.cache.errors import CacheFullError
from davfusion.cache.spans import locked_span

try:
    import fcntl
except ImportError:  # Windows: one process, so nobody else's files can be in the folder
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("davfusion.cache.contents")

ORPHAN_AGE = 600.0
"""Seconds after which a cache file that the index does not name is an orphan; a file younger than this may be
waiting for its transaction."""

SMALL = 32 * 1024
"""Bytes up to which a content lies in the index: a row costs less than a file and shares its flush with others."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system answers when a file cannot grow."""


class ContentFiles:
    """The files of one state directory. Safe with several threads and processes.

    `flush`: a file is on stable storage before it is named. `small`: bytes up to which a content is no file.
    """

    def __init__(self, state: Path, *, flush: bool, small: int = SMALL) -> None:
        self.small = small
        self._in_memory = 0
        self._memory_lock = threading.Lock()
        self._incoming = state / "incoming"
        self._contents = state / "contents"
        self._fetching = state / "fetching"
        self._flushing = state / "flushing"
        self._flush = flush
        self._ready: set[str] = set()
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._contents.mkdir(parents=True, exist_ok=True)
        if flush:
            flush_folder(state)

    @property
    def directory(self) -> Path:
        """The folder on whose disk everything lies."""
        return self._contents

    def path(self, file: str) -> Path:
        """Where a cache file lies."""
        return self._contents / file[:2] / file

    def open(self, file: str) -> BinaryIO:
        """Open a whole content for reading. Raises FileNotFoundError when it was evicted."""
        return self.path(file).open("rb", buffering=0)

    def receive(self, length: int | None, *, admit: Callable[[int], None]) -> Incoming:
        """A new body; `length` bytes are reserved where it is known. `admit` is asked before each further piece."""
        return Incoming(self._incoming, length, flush=self._flush, small=self.small,
                        admit=admit, count=self._count_memory)

    def _count_memory(self, delta: int) -> None:
        with self._memory_lock:
            self._in_memory += delta

    def publish(self, incoming: Incoming) -> str:
        """Make a complete body a cache file, also one in memory; returns its name.

        Flushed first, with its name, if the durability asks for it.
        """
        incoming.seal()
        file = incoming.path.name
        target = self.path(file)
        try:
            self._make_folder(target.parent)
            incoming.path.rename(target)
        except OSError as error:
            raise _full(error, file) from error
        if self._flush:
            flush_folder(target.parent)
        incoming.release()
        return file

    @contextmanager
    def fetching(self, content: int) -> Iterator[None]:
        """Hold the right to fetch a small content; waits for who holds it. Without such locks it is fetched twice."""
        with self._holding(self._fetching, content):
            yield

    @staticmethod
    @contextmanager
    def _holding(path: Path, number: int) -> Iterator[None]:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with locked_span(descriptor, number, 1):
                yield
        finally:
            os.close(descriptor)

    def new_name(self) -> str:
        """A name for a cache file that is to be filled from the store; its folder exists afterwards."""
        file = secrets.token_hex(16)
        self._make_folder(self.path(file).parent)
        return file

    def remove(self, file: str) -> None:
        """Remove a cache file with its map; one that is gone is fine. Open readers go on reading."""
        for path in (self.path(file), map_path(self.path(file))):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def flush_file(self, file: str) -> None:
        """Put a cache file on stable storage."""
        self.flush_files([file])

    def flush_files(self, files: Iterable[str]) -> list[str]:
        """Put cache files on stable storage, then each folder that names any of them; returns those still there."""
        flushed: list[str] = []
        for file in files:
            with contextlib.suppress(FileNotFoundError), self.path(file).open("rb") as opened:
                os.fsync(opened.fileno())
                flushed.append(file)
        for folder in {self.path(file).parent for file in flushed}:
            flush_folder(folder)
        return flushed

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """Hold the right to flush files that were acknowledged without; waits for who holds it."""
        with self._holding(self._flushing, 0):
            yield

    def received_bytes(self) -> int:
        """Bytes that bodies on their way in hold or have reserved: in the memory of this process, in files of all."""
        return self._incoming_bytes()[0] + self._in_memory

    def awaited_bytes(self) -> int:
        """The part of `received_bytes` that has not come yet, so that the disk does not show it as used."""
        reserved, present = self._incoming_bytes()
        return max(0, reserved - present)

    def _incoming_bytes(self) -> tuple[int, int]:
        reserved = present = 0
        with os.scandir(self._incoming) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    reserved += status.st_size
                    present += min(status.st_size, getattr(status, "st_blocks", status.st_size // 512) * 512)
        return reserved, present

    def files(self) -> Iterator[str]:
        """The names of all cache files on disk."""
        for folder in self._contents.iterdir():
            yield from (path.name for path in folder.iterdir() if path.suffix != ".map")

    def is_orphan_age(self, file: str) -> bool:
        """Whether the file is old enough to be an orphan if no row names it."""
        with contextlib.suppress(FileNotFoundError):
            return self.path(file).stat().st_mtime < time.time() - ORPHAN_AGE
        return False

    def sweep_incoming(self) -> int:
        """Remove bodies whose process died; returns how many."""
        swept = sum(_sweep(path) for path in self._incoming.iterdir())
        if swept:
            log.info("abandoned uploads removed", extra={"count": swept})
        return swept

    def _make_folder(self, folder: Path) -> None:
        """Each process flushes each folder's name once: that another process made it does not tell that it did."""
        if folder.name in self._ready:
            return
        folder.mkdir(exist_ok=True)
        if self._flush:
            flush_folder(self._contents)
        self._ready.add(folder.name)


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
        self._published = False
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
            raise _full(error, self.path.name) from error
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
            raise _full(error, self.path.name) from error
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
            raise _full(error, self.path.name) from error

    def release(self) -> None:
        """The bytes are a content now and not this object's any more."""
        self._published = True
        self._close()

    def discard(self) -> None:
        """Remove the body, unless it was published; may be called again."""
        if not self._published and self._descriptor >= 0:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        self._close()

    def _close(self) -> None:
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


def map_path(path: Path) -> Path:
    """Where the map of present blocks of a partial cache file lies."""
    return path.with_name(path.name + ".map")


def flush_folder(folder: Path) -> None:
    """Put the names in a folder on stable storage (a no-op where folders cannot be opened)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def _sweep(path: Path) -> bool:
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


def _full(error: OSError, name: str) -> Exception:
    if error.errno in NO_SPACE:
        return CacheFullError("The disk of the cache is full", name)
    return error
