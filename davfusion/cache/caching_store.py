"""CachingStore: a share as a Store. What is read and written goes through the cache.

A write returns when it is durable on this machine; the engine carries it to the store inside. It also
tells what goes on behind it (`TransparentStore`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from davfusion.cache import tree
from davfusion.cache.errors import (
    CacheFullError,
    IntoItselfError,
    NodeExistsError,
    NoParentError,
    NoSuchNodeError,
    TreeError,
)
from davfusion.cache.guard import TreeView
from davfusion.cache.index import View
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.cache.transparent import TransparentStore
from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidPathError,
    NotFoundError,
    OutOfSpaceError,
    PermanentError,
    StoreError,
)
from davfusion.store.interface import Capabilities, Condition, IfAbsent, IfVersion, Metadata, check_path, split
from davfusion.store.transfer import PIECE, bounds, check_apart, check_interrupt, pieces

PAGE = 1000
"""Entries of a page of a listing."""


class CachingStore(TransparentStore):
    """The store of a share, seen through its cache. Thread-safe; other processes may use the same share.

    Versions are those of the share's entity tags. Closing it closes the share and the store inside.
    """

    def __init__(self, share: Share) -> None:
        super().__init__(share.index)
        self._share = share
        self._inside = share.store

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(
            self._inside.capabilities, folders=True, atomic_move=True, server_side_copy=True, conditional_write=True,
            conditional_delete=True, conditional_read=True, keeps_modified=True, strong_consistency=True,
            case_sensitive=True)

    def get_name(self) -> str:
        return self._inside.get_name()

    def account_info(self) -> str:
        return self._inside.account_info()

    # -- reading ------------------------------------------------------------------------------

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        with _translated(path):
            node = self._file(path)
            if if_version is not None and if_version != _version(node):
                raise ConflictError("The file has changed in the meantime", path)
            position, end = bounds(node.size, start, stop)
            check_interrupt(interrupt, path)
            if position == end:
                return
            with self._share.open(node) as reader:
                reader.seek(position)
                while position < end:
                    piece = reader.read(min(PIECE, end - position))
                    if not piece:
                        raise PermanentError("The cache holds fewer bytes than the file has", path)
                    position += len(piece)
                    yield piece
                    check_interrupt(interrupt, path)

    def get_metadata(self, path: str) -> Metadata:
        with _translated(path):
            return _metadata(self._node(path))

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        with _translated(directory):
            folder = self._node(directory)
            if not folder.is_folder:
                raise NotFoundError("This is a file, not a folder", directory)
            page: list[Metadata] = []
            for node in self._share.walk(folder) if recursive else self._share.children(folder):
                page.append(_metadata(node))
                if len(page) == PAGE:
                    yield page
                    page = []
            if page:
                yield page

    # -- writing ------------------------------------------------------------------------------

    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        def guard(view: TreeView) -> None:
            old = view.find(path)
            _check(old, condition, path)
            if old is not None and old.is_folder:
                raise AlreadyExistsError("A folder is where the file was to go", path)

        with _translated(path):
            self._prepare(path, condition)
            length = fileobject.seek(0, 2)
            fileobject.seek(0)
            with self._share.receive(length) as incoming:
                for piece in pieces(fileobject, path, interrupt):
                    incoming.write(piece)
                return _metadata(self._share.put(path, incoming, guard=guard, modified=modified)[0])

    def create_directory(self, directory: str) -> None:
        with _translated(directory):
            if self._share.find(_checked(directory)) is not None:
                raise AlreadyExistsError("There is something here already", directory)
            self._make_parents(directory)
            self._share.make_folder(directory)

    def delete(self, path: str, is_dir: bool, *, if_version: str | None = None) -> None:
        with _translated(path):
            node = self._share.find(_checked(path))
            if node is None or node.is_folder != is_dir:
                return
            if path == "/":
                for child in self._share.children(node):
                    self.delete(child.path, child.is_folder)
                return
            with contextlib.suppress(NoSuchNodeError):
                self._share.delete(path, guard=_is_version(path, None if is_dir else if_version))

    def delete_empty_directory(self, directory: str) -> None:
        def change(view: View) -> None:
            record = view.nodes.resolve(directory)
            if record is None or not record.is_folder:
                return
            if view.nodes.has_children(record.id):
                raise ConflictError("The folder is not empty", directory)
            tree.delete(view, directory, due=view.now() + self._share.settings.upload_delay)

        with _translated(directory):
            node = self._share.find(_checked(directory))
            if node is None or not node.is_folder:
                return
            if self._share.children(node):
                raise ConflictError("The folder is not empty", directory)
            self._share.index.write(change)

    def duplicate(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
                  condition: Condition = None) -> Metadata:
        return self._transfer(path_to_src, path_to_dest, if_version, condition, lambda guard: self._share.copy(
            path_to_src, path_to_dest, overwrite=True, guard=guard))

    def move(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
             condition: Condition = None) -> Metadata:
        return self._transfer(path_to_src, path_to_dest, if_version, condition, lambda guard: self._share.move(
            path_to_src, path_to_dest, overwrite=True, guard=guard))

    def _transfer(self, source: str, destination: str, if_version: str | None, condition: Condition,
                  run: Callable[[Callable[[TreeView], None]], bool]) -> Metadata:
        def guard(view: TreeView) -> None:
            _is_version(source, if_version)(view)
            _check(view.find(destination), condition, destination)

        with _translated(source):
            node = self._node(source)
            check_apart(source, _checked(destination))
            _is_version(source, None if node.is_folder else if_version)(_Known(node))
            if source != destination:
                self._prepare(destination, condition)
                run(guard)
            return _metadata(self._node(destination))

    # -- space and life -------------------------------------------------------------------------

    def get_overall_space(self) -> int | None:
        return self._inside.get_overall_space()

    def get_used_space(self) -> int | None:
        return self._inside.get_used_space()

    def get_free_space(self) -> int | None:
        return self._inside.get_free_space()

    def reconnect(self) -> None:
        self._inside.reconnect()

    def get_configuration(self) -> dict[str, str]:
        return self._inside.get_configuration()

    def set_configuration(self, config: dict[str, str]) -> None:
        self._inside.set_configuration(config)

    def close(self) -> None:
        self._share.close()
        self._inside.close()

    # -- inside -----------------------------------------------------------------------------------

    def _node(self, path: str) -> Node:
        node = self._share.find(_checked(path))
        if node is None:
            raise NotFoundError("There is nothing here", path)
        return node

    def _file(self, path: str) -> Node:
        node = self._node(path)
        if node.is_folder:
            raise NotFoundError("This is a folder, not a file", path)
        return node

    def _prepare(self, path: str, condition: Condition) -> None:
        """Know what is at the place, refuse what cannot be, and have the folders above."""
        old = self._share.find(_checked(path))
        if path == "/":
            raise AlreadyExistsError("The root is a folder", path)
        _check(old, condition, path)
        self._make_parents(path)

    def _make_parents(self, path: str) -> None:
        folder = split(path)[0]
        node = self._share.find(folder)
        if node is not None and node.is_folder:
            return
        if node is not None:
            raise AlreadyExistsError("A file is where a folder is needed", folder)
        self._make_parents(folder)
        with contextlib.suppress(NodeExistsError):
            self._share.make_folder(folder)


class _Known:
    """One node, where a whole tree is not needed for a check."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def find(self, path: str) -> Node | None:
        return self._node if path == self._node.path else None


def _checked(path: str) -> str:
    """The path, if it is one and can be written down. Raises InvalidPathError."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidPathError("A name must be text", path.encode(errors="replace").decode()) from None
    return check_path(path)


def _version(node: Node) -> str | None:
    return None if node.is_folder else node.etag.strip('"')


def _metadata(node: Node) -> Metadata:
    return Metadata(node.path, is_dir=node.is_folder, bytes=node.size, modified=node.modified, version=_version(node))


def _check(old: Node | None, condition: Condition, path: str) -> None:
    match condition:
        case IfAbsent() if old is not None:
            raise AlreadyExistsError("There is something here already", path)
        case IfVersion(version) if old is None or _version(old) != version:
            raise ConflictError("The file has changed in the meantime", path)


def _is_version(path: str, version: str | None) -> Callable[[TreeView | _Known], None]:
    def guard(view: TreeView | _Known) -> None:
        node = view.find(path)
        if version is not None and node is not None and _version(node) not in (None, version):
            raise ConflictError("The file has changed in the meantime", path)
    return guard


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except TreeError as error:
        raise _store_error(error, path) from error


def _store_error(error: TreeError, path: str) -> StoreError:
    match error:
        case NoSuchNodeError():
            return NotFoundError("There is nothing here", path)
        case CacheFullError():
            return OutOfSpaceError(error.message, path)
        case IntoItselfError():
            return PermanentError(error.message, path)
        case NoParentError():
            return AlreadyExistsError("A file is where a folder is needed", path)
    return AlreadyExistsError(error.message, path)
