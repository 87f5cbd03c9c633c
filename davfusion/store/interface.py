"""The Store: what every place that keeps objects promises to the rooms above.

Paths are absolute, `/`-separated and start with `/`; `/` is the root, no other path ends in `/`.
Sizes are in bytes, times in seconds since the epoch, UTC. A store is safe to use from several
threads. It does no retries and no caching: the engine retries, the cache caches.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from davfusion.store.errors import AlreadyExistsError, ConflictError, InvalidPathError, NotFoundError, PermanentError


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a store tells about one object or folder.

    `version` names the bytes of an object (an ETag without quotes, a generation, a rev, or mtime
    and size): equal versions of one path mean equal bytes. It is None for folders.
    """

    path: str
    is_dir: bool
    bytes: int
    modified: float
    version: str | None


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Write only where nothing exists; AlreadyExistsError otherwise."""


@dataclass(frozen=True, slots=True)
class IfVersion:
    """Write only over this version; ConflictError otherwise, also where nothing exists."""

    version: str


Condition = IfAbsent | IfVersion | None
"""When a write may take effect; None means always."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do by itself; the planner and the cache choose their ways by it."""

    folders: bool
    """Folders exist on their own. False: a folder is implied by the objects below it, and
    `create_directory` leaves a marker that listings hide."""
    atomic_move: bool
    """`move` is one step for a file and for a whole folder."""
    server_side_copy: bool
    """`duplicate` of a file moves no bytes through this machine."""
    conditional_write: bool
    """IfAbsent and IfVersion are decided by the store itself. False: checked just before."""
    conditional_delete: bool
    """`delete(if_version=...)` is decided by the store itself. False: checked just before."""
    conditional_read: bool
    """`if_version` on reads is decided by the store itself. False: checked just before."""
    recursive_listing: bool
    """`list_pages(recursive=True)` costs about one request per page, not one per folder."""
    keeps_modified: bool
    """`modified` given to a write is what `get_metadata` tells afterwards."""
    strong_consistency: bool
    """A read or listing that begins after a write ended shows that write."""
    case_sensitive: bool
    max_filesize: int
    """Bytes of the largest object."""


class Store(abc.ABC):
    """One place that keeps objects.

    Errors are those of `davfusion.store.errors`. "The store as a whole is missing" (no bucket, an
    unmounted folder) is PermanentError or TemporaryError, never NotFoundError.
    """

    # -- identity -----------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store can do; constant for the life of the object."""

    @abc.abstractmethod
    def get_name(self) -> str:
        """The name of the service, for people: "Amazon S3", "Local folder"."""

    @abc.abstractmethod
    def account_info(self) -> str:
        """A line for people: which account, bucket or folder. Holds no secret."""

    def get_logging_handler(self) -> str:
        """The name of the logger that this store and its wrappers use."""
        return "davfusion.store"

    # -- reading ------------------------------------------------------------------------------

    @abc.abstractmethod
    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        """Stream the bytes [start, stop) of the file, in pieces of bounded size.

        `stop=None` means to the end; a stop beyond the end is cut. The first error may come from
        the call or from the first `next`. Raises NotFoundError; ConflictError when the object is
        not `if_version`; TransferInterruptedError. A stream that ends early raises TemporaryError:
        it never just stops. Closing the iterator ends the transfer.
        """

    def get_file(self, path: str) -> bytes:
        """The whole content. Raises NotFoundError."""
        return b"".join(self.read(path))

    def get_range(self, path: str, start: int, stop: int, *, if_version: str | None = None) -> bytes:
        """The bytes [start, stop), cut at the end of the file. Raises as `read`."""
        return b"".join(self.read(path, start, stop, if_version=if_version))

    @abc.abstractmethod
    def get_metadata(self, path: str) -> Metadata:
        """Metadata of a file or folder, from the store itself. Raises NotFoundError."""

    @abc.abstractmethod
    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        """The children of a folder (all descendants when recursive) with their metadata, in pages.

        The folder itself is not included. No order is promised; a path appears once. Raises
        NotFoundError where folders exist on their own; elsewhere a missing folder is an empty one.
        An error on any page raises: a listing that ends is complete.
        """

    def get_bulk_metadata(self, directory: str) -> dict[str, Metadata]:
        """The direct children of a folder by path. Raises as `list_pages`."""
        return {entry.path: entry for page in self.list_pages(directory) for entry in page}

    def get_directory_listing(self, directory: str) -> list[str]:
        """The absolute paths of the direct children. Raises as `list_pages`."""
        return list(self.get_bulk_metadata(directory))

    def exists(self, path: str) -> bool:
        """Whether a file or folder exists. Errors other than "not found" are raised."""
        return self.find(path) is not None

    def find(self, path: str) -> Metadata | None:
        """What is at a path, None for nothing. Errors other than "not found" are raised."""
        try:
            return self.get_metadata(path)
        except NotFoundError:
            return None

    def is_dir(self, path: str) -> bool:
        """Whether the path is a folder. Raises NotFoundError."""
        return self.get_metadata(path).is_dir

    def get_bytes(self, path: str) -> int:
        """Size of the file, 0 for a folder. Raises NotFoundError."""
        return self.get_metadata(path).bytes

    def get_modified(self, path: str) -> float:
        """Time of the last change. Raises NotFoundError."""
        return self.get_metadata(path).modified

    # -- writing ------------------------------------------------------------------------------

    @abc.abstractmethod
    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        """Publish the whole of a seekable file object, from position 0, at `path`, atomically.

        Nobody ever sees a part of it, and a failed or interrupted call leaves the old object as it
        was (as far as the store can promise: after TemporaryError it may have taken effect).
        Missing parent folders are created. `modified` is kept where the store can.
        Raises AlreadyExistsError or ConflictError by `condition`, OutOfSpaceError, TooLargeError,
        InvalidPathError, TransferInterruptedError. Returns the new object's metadata.
        """

    def store_file(
        self, path_to_file: str | Path, dest_dir: str = "/", remote_file_name: str | None = None, *,
        condition: Condition = None, modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        """Publish a local file in the folder `dest_dir`, by default under its own name."""
        name = remote_file_name or Path(path_to_file).name
        with Path(path_to_file).open("rb") as file:
            return self.store_fileobject(
                file, join(dest_dir, name), condition=condition, modified=modified, interrupt=interrupt)

    @abc.abstractmethod
    def create_directory(self, directory: str) -> None:
        """Create one folder; missing parents are created. Raises AlreadyExistsError."""

    def keep_directory(self, directory: str) -> None:
        """Have a folder that stays when nothing is in it any more, whether it exists or not.

        Where folders are implied this leaves a marker, also in a folder that objects imply now. Raises
        AlreadyExistsError when a file is there.
        """
        try:
            self.create_directory(directory)
        except AlreadyExistsError:
            if not self.get_metadata(directory).is_dir:
                raise

    @abc.abstractmethod
    def delete(self, path: str, is_dir: bool, *, if_version: str | None = None) -> None:
        """Delete a file, or a folder with all that is in it. Nothing there is success.

        `if_version` is for files only. Raises ConflictError when the file is another version.
        """

    def delete_empty_directory(self, directory: str) -> None:
        """Delete a folder only if nothing is in it. Nothing there is success.

        Where folders are implied this removes the folder's marker, if any, and touches no object.
        Raises ConflictError when something is in it.
        """
        if self.get_directory_listing(directory):
            raise ConflictError("The folder is not empty", directory)
        self.delete(directory, is_dir=True)

    def unkeep_directory(self, directory: str) -> None:
        """Have nothing keep a folder any more but what is in it: the contrary of `keep_directory`.

        Where folders are implied, markers go, also those of other programs; whatever else is in it stays, and with it
        the folder. Where folders exist on their own this is `delete_empty_directory`. Nothing there is success.
        """
        self.delete_empty_directory(directory)

    @abc.abstractmethod
    def duplicate(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
                  condition: Condition = None) -> Metadata:
        """Copy a file or folder tree; an existing destination is replaced, by `condition` (IfVersion: of files).

        `if_version` is the version of a source file. Raises NotFoundError for the source,
        AlreadyExistsError, ConflictError. A folder's copy is not atomic where the store has no such
        thing. Returns the destination's metadata.
        """

    @abc.abstractmethod
    def move(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
             condition: Condition = None) -> Metadata:
        """Rename a file or folder; the same contract as `duplicate`, with the source gone at the end."""

    # -- space and limits ---------------------------------------------------------------------

    @abc.abstractmethod
    def get_overall_space(self) -> int | None:
        """Bytes that the account may hold, or None where the store does not tell."""

    @abc.abstractmethod
    def get_used_space(self) -> int | None:
        """Bytes used, or None where the store does not tell."""

    def get_free_space(self) -> int | None:
        """Bytes free, or None where the store does not tell."""
        overall, used = self.get_overall_space(), self.get_used_space()
        return None if overall is None or used is None else max(0, overall - used)

    def get_max_filesize(self) -> int:
        """Bytes of the largest file."""
        return self.capabilities.max_filesize

    # -- life ---------------------------------------------------------------------------------

    def reconnect(self) -> None:
        """Drop connections and cached sign-ins and begin anew."""
        return

    def get_configuration(self) -> dict[str, str]:
        """The options in force, for people; holds no secret."""
        return {}

    def set_configuration(self, config: dict[str, str]) -> None:
        """Change options at run time. Raises PermanentError for an unknown option."""
        for name in config:
            raise PermanentError(f"{self.get_name()} has no changeable option {name!r}")

    def close(self) -> None:
        """Release connections; the store is not used afterwards."""
        return


def join(directory: str, name: str) -> str:
    """The path of `name` in `directory`."""
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


def split(path: str) -> tuple[str, str]:
    """The folder and the name of a path other than the root."""
    directory, _, name = path.rpartition("/")
    return directory or "/", name


def check_path(path: str) -> str:
    """The path itself if it is well-formed: absolute, no empty, `.` or `..` segment, no NUL.

    Raises InvalidPathError.
    """
    if not path.startswith("/"):
        raise InvalidPathError("A path starts with /", path)
    if path == "/":
        return path
    if any(segment in ("", ".", "..") for segment in path[1:].split("/")) or "\0" in path:
        raise InvalidPathError("A path has no empty, . or .. part and no NUL", path)
    return path
