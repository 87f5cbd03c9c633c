"""Hidden files and folders beside a place, which become it in one step or go."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from davfusion.store.errors import AlreadyExistsError

log = logging.getLogger("davfusion.store.local")

HIDDEN = ".davfusion-tmp-"
"""How the names of temporary files and folders begin."""

SWEEP_AFTER = 24 * 3600.0
"""Seconds without a change after which a temporary file is a leftover of a crash."""


class Temporary:
    """A hidden file or folder beside a place, which becomes it or goes: a context manager for one use."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = target.parent / f"{HIDDEN}{secrets.token_hex(8)}"
        self._status: os.stat_result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        _discard(self.path)

    def write(self, content: Iterator[bytes], modified: float | None) -> None:
        """Fill the file and flush it to the disk; it keeps the rights of the file that it will replace."""
        with self.path.open("xb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            with contextlib.suppress(OSError):
                self.path.chmod(stat.S_IMODE(self._target.lstat().st_mode))
            if modified is not None:
                nanoseconds = round(modified * 1e9)
                os.utime(self.path, ns=(nanoseconds, nanoseconds))
            os.fsync(file.fileno())
            self._status = os.fstat(file.fileno())

    def publish(self) -> None:
        """Take the place, replacing a file that is there."""
        self.path.replace(self._target)

    def publish_new(self, path: str) -> None:
        """Take the place only if nothing is there. Raises AlreadyExistsError."""
        try:
            self._target.hardlink_to(self.path)
        except FileExistsError as error:
            raise AlreadyExistsError("There is something here already", path) from error
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES):
                raise
            self.publish()

    def settled(self) -> os.stat_result:
        """Status of the published file, as the file system tells it now: some round the times."""
        status = self._target.lstat()
        same = (status.st_ino, status.st_size) == (self._status.st_ino, self._status.st_size)
        return status if same else self._status

    def take_away(self, tree: Path) -> None:
        """Make the folder invisible in one step, then remove it."""
        tree.rename(self.path)
        _discard(self.path, strict=True)

    def replace_tree(self, source: Path, target: Path) -> None:
        """Rename `source` to `target`, after what is there has been put aside; put it back on failure."""
        target.rename(self.path)
        try:
            source.rename(target)
        except OSError:
            self.path.rename(target)
            raise
        _discard(self.path)


def sync(directory: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def sweep(place: Path) -> bool:
    """Remove a leftover of a crash. Its ctime decides, which no program can set back."""
    try:
        if time.time() - place.lstat().st_ctime < SWEEP_AFTER:
            return False
        _discard(place)
    except OSError:
        return False
    log.info("leftover swept", extra={"place": str(place)})
    return True


def _discard(place: Path, *, strict: bool = False) -> None:
    """Remove a file or tree, if it is there."""
    try:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except OSError as error:
        if strict:
            raise
        log.warning("temporary left behind", extra={"place": str(place), "error": str(error)})
