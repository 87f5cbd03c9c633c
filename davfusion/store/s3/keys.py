"""Paths and keys: which object is which path, and what a listing of keys means as a tree."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from davfusion.store.errors import InvalidPathError
from davfusion.store.interface import Metadata, check_path, split
from davfusion.store.s3.answers import ListPage
from davfusion.store.transfer import is_below

log = logging.getLogger("davfusion.store.s3")

MARKER = ".davfusion-folder"
"""Name of the empty object that keeps an empty folder."""

MAX_KEY = 1024
"""Bytes of the longest key."""


class Keys:
    """The mapping between paths of the store and keys below a prefix of the bucket."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def of(self, path: str) -> str:
        """The key of a file. Raises InvalidPathError for what a key cannot be."""
        key = self._prefix + check_path(path)[1:]
        if path == "/":
            raise InvalidPathError("The root is a folder, not a file", path)
        if split(path)[1] == MARKER:
            raise InvalidPathError(f"The name {MARKER} is reserved; choose another", path)
        if any(ord(character) < 32 or ord(character) == 127 for character in path):
            raise InvalidPathError("The store cannot hold control characters in a name; rename it", path)
        if len(_encode(key, path)) > MAX_KEY:
            raise InvalidPathError(f"The path is longer than the store can hold ({MAX_KEY} bytes)", path)
        return key

    def holds(self, path: str) -> bool:
        """Whether something can be at the path. Raises InvalidPathError only for what is no path at all."""
        if check_path(path) == "/":
            return True
        try:
            self.of(path)
        except InvalidPathError:
            return False
        return True

    def below(self, directory: str) -> str:
        """What the keys of everything in the folder begin with."""
        return self._prefix if check_path(directory) == "/" else self.of(directory) + "/"

    def marker(self, directory: str) -> str:
        """The key of the folder's marker."""
        return self.below(directory) + MARKER

    def path(self, key: str) -> str | None:
        """The path of an object or, with a `/` at the end, of a folder; None for what is no path."""
        path = "/" + key[len(self._prefix):].removesuffix("/")
        try:
            if path == "/" or self.of(path) != key.removesuffix("/"):
                return None
        except InvalidPathError:
            return None
        return path


class Tree:
    """Turns the pages of one listing into the tree that they imply; each path comes out once."""

    def __init__(self, keys: Keys, directory: str) -> None:
        self._keys = keys
        self._directory = directory
        self._files: set[str] = set()
        self._folders: set[str] = {directory}

    def entries(self, page: ListPage) -> Iterator[Metadata]:
        """The files and folders that come new with this page."""
        for prefix in page.prefixes:
            yield from self._seen_folder(prefix)
        for found in page.objects:
            if found.key.endswith("/"):
                yield from self._seen_folder(found.key)
            elif is_marker(found.key):
                yield from self._seen_folder(found.key.removesuffix(MARKER))
            else:
                yield from self._seen_file(found.key, found.size, found.modified, found.etag)

    def _seen_file(self, key: str, size: int, modified: float, etag: str) -> Iterator[Metadata]:
        path = self._path(key)
        if path is None:
            return
        directory = split(path)[0]
        yield from self._new_folders(directory)
        if directory not in self._folders:
            return
        if path in self._folders:
            log.warning("file left out: a folder has its name", extra={"path": path})
            return
        self._files.add(path)
        yield Metadata(path, is_dir=False, bytes=size, modified=modified, version=etag)

    def _seen_folder(self, key: str) -> Iterator[Metadata]:
        if key == self._keys.below(self._directory):
            return
        path = self._path(key)
        if path is not None:
            yield from self._new_folders(path)

    def _new_folders(self, path: str) -> Iterator[Metadata]:
        missing = []
        while path not in self._folders and is_below(path, self._directory):
            missing.append(path)
            path = split(path)[0]
        for folder in reversed(missing):
            if folder in self._files:
                log.warning("folder left out: a file has its name", extra={"path": folder})
                return
            self._folders.add(folder)
            yield folder_metadata(folder)

    def _path(self, key: str) -> str | None:
        path = self._keys.path(key)
        if path is None:
            log.warning("key left out: not a path", extra={"key": ascii(key)})
        return path


def is_marker(key: str) -> bool:
    """Whether the object only keeps a folder: ours, or the `folder/` of other tools."""
    return key.rpartition("/")[2] in (MARKER, "")


def marker_of(key: str) -> str:
    """Our marker for the folder that the marker `key` keeps."""
    return key.removesuffix(MARKER) + MARKER


def folder_metadata(path: str) -> Metadata:
    """A folder; an object store does not tell its time."""
    return Metadata(path, is_dir=True, bytes=0, modified=0.0, version=None)


def _encode(key: str, path: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise InvalidPathError("The name is not valid Unicode", path) from error
