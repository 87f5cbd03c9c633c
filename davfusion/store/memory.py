"""A store in the memory of this process: for tests, for trying things, for `memory://`."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from davfusion.store.errors import AlreadyExistsError, ConflictError, NotFoundError
from davfusion.store.interface import (
    Capabilities,
    Condition,
    IfAbsent,
    IfVersion,
    Metadata,
    Store,
    check_path,
    join,
    split,
)
from davfusion.store.transfer import PIECE, bounds, check_apart, check_interrupt, pieces

PAGE = 1000
"""Entries of a page of a listing."""

CAPABILITIES = Capabilities(
    folders=True, atomic_move=True, server_side_copy=True, conditional_write=True, conditional_delete=True,
    conditional_read=True, recursive_listing=True, keeps_modified=True, strong_consistency=True,
    case_sensitive=True, max_filesize=2**63 - 1)


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    version: str
    modified: float


@dataclass(slots=True)
class _Folder:
    modified: float
    children: dict[str, _File | _Folder] = field(default_factory=dict)


class MemoryStore(Store):
    """Objects in a dictionary; gone with the process. Every operation is one step under one lock."""

    def __init__(self) -> None:
        self._root = _Folder(time.time())
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def get_name(self) -> str:
        return "Memory"

    def account_info(self) -> str:
        return "Memory of this process; gone when it ends"

    # -- reading ------------------------------------------------------------------------------

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        with self._lock:
            file = self._file(path)
        _check_version(file, if_version, path)
        first, end = bounds(len(file.data), start, stop)
        for position in range(first, end, PIECE):
            check_interrupt(interrupt, path)
            yield file.data[position:min(position + PIECE, end)]

    def get_metadata(self, path: str) -> Metadata:
        with self._lock:
            node = self._find(check_path(path))
            if node is None:
                raise NotFoundError("There is nothing here", path)
            return _metadata(path, node)

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        with self._lock:
            entries = list(_walk(directory, self._folder(directory), recursive))
        for first in range(0, len(entries), PAGE):
            yield entries[first:first + PAGE]

    # -- writing ------------------------------------------------------------------------------

    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        check_path(path)
        fileobject.seek(0)
        data = b"".join(pieces(fileobject, path, interrupt))
        with self._lock:
            file = self._new_file(data, modified)
            old = self._find(path)
            _check_condition(old, condition, path)
            if isinstance(old, _Folder):
                raise AlreadyExistsError("A folder is where the file was to go", path)
            self._put(path, file)
            return _metadata(path, file)

    def create_directory(self, directory: str) -> None:
        check_path(directory)
        with self._lock:
            if self._find(directory) is not None:
                raise AlreadyExistsError("There is something here already", directory)
            self._put(directory, _Folder(time.time()))

    def delete(self, path: str, is_dir: bool, *, if_version: str | None = None) -> None:
        check_path(path)
        with self._lock:
            node = self._find(path)
            if node is None or isinstance(node, _Folder) != is_dir:
                return
            if isinstance(node, _File):
                _check_version(node, if_version, path)
            self._take(path)

    def delete_empty_directory(self, directory: str) -> None:
        check_path(directory)
        with self._lock:
            node = self._find(directory)
            if not isinstance(node, _Folder):
                return
            if node.children:
                raise ConflictError("The folder is not empty", directory)
            self._take(directory)

    def duplicate(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
                  condition: Condition = None) -> Metadata:
        with self._lock:
            source = self._transfer(path_to_src, path_to_dest, if_version, condition)
            if path_to_src != path_to_dest:
                self._put(path_to_dest, self._copy(source))
            return _metadata(path_to_dest, self._existing(path_to_dest))

    def move(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
             condition: Condition = None) -> Metadata:
        with self._lock:
            source = self._transfer(path_to_src, path_to_dest, if_version, condition)
            if path_to_src != path_to_dest:
                self._put(path_to_dest, source)
                self._take(path_to_src)
            return _metadata(path_to_dest, source)

    # -- space --------------------------------------------------------------------------------

    def get_overall_space(self) -> int | None:
        return None

    def get_used_space(self) -> int | None:
        with self._lock:
            return sum(entry.bytes for entry in _walk("/", self._root, True))

    # -- the tree, under the lock ---------------------------------------------------------------

    def _find(self, path: str) -> _File | _Folder | None:
        node: _File | _Folder | None = self._root
        for name in _names(path):
            if not isinstance(node, _Folder):
                return None
            node = node.children.get(name)
        return node

    def _existing(self, path: str) -> _File | _Folder:
        node = self._find(check_path(path))
        if node is None:
            raise NotFoundError("There is nothing here", path)
        return node

    def _file(self, path: str) -> _File:
        node = self._existing(path)
        if not isinstance(node, _File):
            raise NotFoundError("This is a folder, not a file", path)
        return node

    def _folder(self, path: str) -> _Folder:
        node = self._existing(path)
        if not isinstance(node, _Folder):
            raise NotFoundError("This is a file, not a folder", path)
        return node

    def _put(self, path: str, node: _File | _Folder) -> None:
        folder, names = self._root, _names(path)
        for depth, name in enumerate(names[:-1]):
            child = folder.children.setdefault(name, _Folder(time.time()))
            if not isinstance(child, _Folder):
                raise AlreadyExistsError("A file is where a folder is needed",
                                         "/" + "/".join(names[:depth + 1]))
            folder = child
        folder.children[names[-1]] = node
        folder.modified = time.time()

    def _take(self, path: str) -> None:
        if path == "/":
            self._root.children.clear()
            return
        directory, name = split(path)
        folder = self._folder(directory)
        del folder.children[name]
        folder.modified = time.time()

    def _transfer(self, source: str, destination: str, if_version: str | None, condition: Condition
                  ) -> _File | _Folder:
        node, old = self._existing(source), self._find(check_path(destination))
        if isinstance(node, _File):
            _check_version(node, if_version, source)
        check_apart(source, destination)
        if source != destination:
            _check_condition(old, condition, destination)
        return node

    def _copy(self, node: _File | _Folder) -> _File | _Folder:
        if isinstance(node, _File):
            return self._new_file(node.data, node.modified)
        return _Folder(time.time(), {name: self._copy(child) for name, child in node.children.items()})

    def _new_file(self, data: bytes, modified: float | None) -> _File:
        return _File(data, str(next(self._versions)), time.time() if modified is None else modified)


def _names(path: str) -> list[str]:
    return [] if path == "/" else path[1:].split("/")


def _metadata(path: str, node: _File | _Folder) -> Metadata:
    if isinstance(node, _Folder):
        return Metadata(path, is_dir=True, bytes=0, modified=node.modified, version=None)
    return Metadata(path, is_dir=False, bytes=len(node.data), modified=node.modified, version=node.version)


def _walk(directory: str, folder: _Folder, recursive: bool) -> Iterator[Metadata]:
    waiting = [(directory, folder)]
    while waiting:
        directory, folder = waiting.pop()
        for name, child in folder.children.items():
            path = join(directory, name)
            yield _metadata(path, child)
            if recursive and isinstance(child, _Folder):
                waiting.append((path, child))


def _check_version(file: _File, version: str | None, path: str) -> None:
    if version is not None and file.version != version:
        raise ConflictError("The file has changed in the meantime", path)


def _check_condition(old: _File | _Folder | None, condition: Condition, path: str) -> None:
    match condition:
        case IfAbsent() if old is not None:
            raise AlreadyExistsError("There is something here already", path)
        case IfVersion(version) if not isinstance(old, _File) or old.version != version:
            raise ConflictError("The file has changed in the meantime", path)
