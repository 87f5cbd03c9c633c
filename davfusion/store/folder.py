"""How a LocalStore looks at the disk: safe names, what is visible, and the meaning of OSErrors."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidPathError,
    NotFoundError,
    OutOfSpaceError,
    PermissionDeniedError,
    StoreError,
    TemporaryError,
    TooLargeError,
)
from davfusion.store.interface import Metadata, check_path, join
from davfusion.store.temporary import HIDDEN, sweep, sync

log = logging.getLogger("davfusion.store.local")


class Place:
    """A root folder and the way from store paths to what lies in it. Safe for several threads."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - Path.resolve would look at the disk
        self._device: int | None = None

    def check_root(self) -> Path:
        """The root; TemporaryError when it is not there or is not on the disk where it was."""
        try:
            status = self.root.stat()
        except OSError as error:
            raise TemporaryError(f"The folder {self.root} is not there; is the disk mounted? "
                                 f"({error.strerror})") from error
        if not stat.S_ISDIR(status.st_mode):
            raise TemporaryError(f"{self.root} is not a folder; is the disk mounted?")
        if self._device is None:
            self._device = status.st_dev
        if self._device != status.st_dev:
            raise TemporaryError(f"The folder {self.root} is on another disk than before; "
                                 "mount the right one, or restart to go on with this one")
        return self.root

    def forget(self) -> None:
        """Take the disk of the next check for the right one."""
        self._device = None

    @contextlib.contextmanager
    def errors(self, path: str, *, writing: bool = False) -> Iterator[None]:
        """Check path and root, and translate every OSError inside."""
        try:
            check_path(path).encode()
        except UnicodeEncodeError as error:
            raise InvalidPathError("The name is not valid Unicode", path) from error
        self.check_root()
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            self.check_root()
            raise translate(error, path, writing=writing) from error

    def target(self, path: str) -> Path:
        """Where the path lies, for writing. Raises InvalidPathError for the root and for hidden names."""
        if path == "/":
            raise InvalidPathError("The root itself cannot be written, moved or removed", path)
        if _is_hidden(path):
            raise InvalidPathError(f"Names that begin with {HIDDEN} are reserved; choose another", path)
        return self.root / path[1:]

    def make_parents(self, path: str) -> None:
        """Create the folders above the path, durably. AlreadyExistsError where one is a file."""
        names = path[1:].split("/")[:-1]
        current = self.root
        for depth, name in enumerate(names):
            current = current / name
            try:
                current.mkdir()
            except FileExistsError:
                if not stat.S_ISDIR(current.lstat().st_mode):
                    raise AlreadyExistsError("A file or a link is where a folder is needed",
                                             "/" + "/".join(names[:depth + 1])) from None
            else:
                sync(current.parent)

    def status(self, path: str) -> os.stat_result | None:
        """Status of the file or folder at the path; None when there is none that a store shows."""
        if _is_hidden(path):
            return None
        current = self.root
        names = [] if path == "/" else path[1:].split("/")
        try:
            for name in names[:-1]:
                current = current / name
                if not stat.S_ISDIR(current.lstat().st_mode):
                    return None
            return self.visible(current / names[-1]) if names else current.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def visible(self, place: Path) -> os.stat_result | None:
        """Status of what is at the place, following a link to a file inside the root; else None."""
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            return self._linked(place)
        return status if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else None

    def _linked(self, place: Path) -> os.stat_result | None:
        try:
            target = place.resolve(strict=True)
            status = target.stat()
        except (FileNotFoundError, NotADirectoryError, RuntimeError):
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return None
        inside = target.is_relative_to(self.root.resolve())
        return status if inside and stat.S_ISREG(status.st_mode) else None

    def open_file(self, path: str) -> BinaryIO:
        """The file opened for reading. Raises NotFoundError."""
        status = self.status(path)
        if status is None:
            raise NotFoundError("There is nothing here", path)
        if stat.S_ISDIR(status.st_mode):
            raise NotFoundError("This is a folder, not a file", path)
        return (self.root / path[1:]).open("rb")

    def children(self, directory: str) -> list[Metadata]:
        """The visible children of a folder. Raises NotFoundError when it is not there or not a folder."""
        with self.errors(directory):
            status = self.status(directory)
            if status is None or not stat.S_ISDIR(status.st_mode):
                raise NotFoundError("There is no such folder", directory)
            with os.scandir(self.root / directory[1:]) as entries:
                found = [self._child(directory, Path(entry.path)) for entry in entries]
        return [child for child in found if child is not None]

    def _child(self, directory: str, place: Path) -> Metadata | None:
        if place.name.startswith(HIDDEN):
            sweep(place)
            return None
        try:
            place.name.encode()
        except UnicodeEncodeError:
            log.warning("name left out: not UTF-8", extra={"folder": directory, "entry": ascii(place.name)})
            return None
        try:
            status = self.visible(place)
        except FileNotFoundError:
            return None
        return None if status is None else metadata(join(directory, place.name), status)

    def is_empty(self, directory: str) -> bool:
        """Whether nothing is in the folder but temporary files. What a listing leaves out counts."""
        with os.scandir(self.root / directory[1:]) as entries:
            return all(entry.name.startswith(HIDDEN) for entry in entries)


def version(status: os.stat_result) -> str:
    """The version of a file: mtime in nanoseconds, size and inode, in hexadecimal."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def metadata(path: str, status: os.stat_result) -> Metadata:
    """Metadata of the file or folder with this status."""
    if stat.S_ISDIR(status.st_mode):
        return Metadata(path, is_dir=True, bytes=0, modified=status.st_mtime, version=None)
    return Metadata(path, is_dir=False, bytes=status.st_size, modified=status.st_mtime,
                    version=version(status))


def remove_empty(target: Path, path: str) -> None:
    """Remove a folder that holds nothing but temporary files, of whatever age: what they were for has lost its place.

    Raises ConflictError when it holds more.
    """
    try:
        target.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        entries = list(target.iterdir())
        if any(not entry.name.startswith(HIDDEN) for entry in entries):
            raise ConflictError("The folder is not empty", path) from error
        for entry in entries:
            entry.unlink(missing_ok=True)
        target.rmdir()


def translate(error: OSError, path: str, *, writing: bool) -> StoreError:
    """The store's error for an OSError of an operation below an existing root."""
    match error.errno:
        case errno.ENOENT | errno.ELOOP:
            return NotFoundError("There is nothing here", path)
        case errno.ENOTDIR | errno.EISDIR if not writing:
            return NotFoundError("There is nothing here", path)
        case errno.EEXIST | errno.ENOTDIR | errno.EISDIR | errno.ENOTEMPTY:
            return AlreadyExistsError("There is something else here already", path)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return PermissionDeniedError("This account may not do this; check the rights of the folder", path)
        case errno.ENOSPC | errno.EDQUOT:
            return OutOfSpaceError("The disk or the quota is full", path)
        case errno.ENAMETOOLONG | errno.EINVAL | errno.EILSEQ:
            return InvalidPathError("The file system cannot hold this name; rename it", path)
        case errno.EFBIG:
            return TooLargeError("The file system cannot hold a file of this size", path)
    return TemporaryError(f"The disk did not answer: {error.strerror}", path)


def _is_hidden(path: str) -> bool:
    return any(name.startswith(HIDDEN) for name in path.split("/"))
