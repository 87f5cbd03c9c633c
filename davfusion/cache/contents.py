"""Contents on their way in, and the cache files of those that do not lie in the index.

A body stays in memory as long as it is small and goes into the index then. A larger one is a file:

    incoming/<token>        a body on its way in; its size on disk is the room it has reserved
    contents/<xx>/<token>   a content, or the present parts of one (then with <token>.map beside it)

A token is never used twice, so a file that was evicted can not be confused with its successor. A file
that no index row names is an orphan of a crash and is swept.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from davfusion.cache.incoming import Incoming, sweep, translated
from davfusion.cache.spans import locked_span

log = logging.getLogger("davfusion.cache.contents")

ORPHAN_AGE = 600.0
"""Seconds after which a cache file that the index does not name is an orphan; a file younger than this may be
waiting for its transaction."""

SMALL = 32 * 1024
"""Bytes up to which a content lies in the index: a row costs less than a file and shares its flush with others."""


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
            raise translated(error, file) from error
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
        # The map first: without its file it would never be found again.
        for path in (map_path(self.path(file)), self.path(file)):
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
        swept = sum(sweep(path) for path in self._incoming.iterdir())
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
