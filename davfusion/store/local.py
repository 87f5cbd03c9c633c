"""A store in a folder of this machine, or of anything that is mounted on it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from davfusion.store import folder
from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    TemporaryError,
)
from davfusion.store.folder import Place
from davfusion.store.interface import (
    Capabilities,
    Condition,
    IfAbsent,
    IfVersion,
    Metadata,
    Store,
    check_path,
)
from davfusion.store.temporary import Temporary, sync
from davfusion.store.transfer import PIECE, bounds, check_apart, check_interrupt, pieces

PAGE = 1000
"""Entries of a page of a listing."""

CAPABILITIES = Capabilities(
    folders=True, atomic_move=True, server_side_copy=True, conditional_write=False, conditional_delete=False,
    conditional_read=False, recursive_listing=True, keeps_modified=True, strong_consistency=True,
    case_sensitive=sys.platform not in ("win32", "darwin"), max_filesize=2**63 - 1)


class LocalStore(Store):
    """Files below one folder, the root, as other programs see them.

    A file is written beside its place under a temporary name, flushed to the disk and renamed. The
    version of a file is its mtime, size and inode. Links out of the root, links to folders and
    things that are neither file nor folder are not there. Conditions are checked just before the
    rename, under a lock of this object; IfAbsent holds against other programs too where the file
    system has hard links. A root that is not there, or is on another disk than it was, is a
    TemporaryError.
    """

    def __init__(self, root: str | Path) -> None:
        self._place = Place(root)
        self._publishing = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def get_name(self) -> str:
        return "Local folder"

    def account_info(self) -> str:
        return str(self._place.root)

    # -- reading ------------------------------------------------------------------------------

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        with self._place.errors(path), self._place.open_file(path) as file:
            version = folder.version(os.fstat(file.fileno()))
            _check_version(version, if_version, path)
            position, end = bounds(os.fstat(file.fileno()).st_size, start, stop)
            file.seek(position)
            while position < end:
                check_interrupt(interrupt, path)
                piece = file.read(min(PIECE, end - position))
                if not piece:
                    raise TemporaryError("The file became shorter while it was read", path)
                position += len(piece)
                yield piece
            if folder.version(os.fstat(file.fileno())) != version:
                raise TemporaryError("The file was changed while it was read", path)

    def get_metadata(self, path: str) -> Metadata:
        with self._place.errors(path):
            status = self._place.status(path)
        if status is None:
            raise NotFoundError("There is nothing here", path)
        return folder.metadata(path, status)

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        page: list[Metadata] = []
        for entry in self._walk(directory, recursive):
            page.append(entry)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page

    def _walk(self, directory: str, recursive: bool) -> Iterator[Metadata]:
        waiting = [check_path(directory)]
        while waiting:
            current = waiting.pop()
            try:
                children = self._place.children(current)
            except NotFoundError:
                if current == directory:
                    raise
                continue
            yield from children
            if recursive:
                waiting.extend(child.path for child in children if child.is_dir)

    # -- writing ------------------------------------------------------------------------------

    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        check_interrupt(interrupt, path)
        fileobject.seek(0)
        return self._publish(pieces(fileobject, path, interrupt), path, condition, modified)

    def _publish(self, content: Iterator[bytes], path: str, condition: Condition, modified: float | None
                 ) -> Metadata:
        with self._place.errors(path, writing=True):
            target = self._place.target(path)
            self._check_place(path, condition)
            self._place.make_parents(path)
            with Temporary(target) as temporary:
                temporary.write(content, modified)
                with self._publishing:
                    self._check_place(path, condition)
                    if isinstance(condition, IfAbsent):
                        temporary.publish_new(path)
                    else:
                        temporary.publish()
            sync(target.parent)
            return folder.metadata(path, temporary.settled())

    def _check_place(self, path: str, condition: Condition) -> None:
        status = self._place.status(path)
        _check_condition(status, condition, path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise AlreadyExistsError("A folder is where the file was to go", path)

    def create_directory(self, directory: str) -> None:
        with self._place.errors(directory, writing=True):
            if directory == "/":
                raise AlreadyExistsError("The root is always there", directory)
            target = self._place.target(directory)
            self._place.make_parents(directory)
            target.mkdir()
            sync(target.parent)

    def delete(self, path: str, is_dir: bool, *, if_version: str | None = None) -> None:
        with self._place.errors(path, writing=True), self._publishing:
            status = self._place.status(path)
            if status is None or stat.S_ISDIR(status.st_mode) != is_dir:
                return
            if not is_dir:
                _check_version(folder.version(status), if_version, path)
            self._remove(path, is_dir)

    def _remove(self, path: str, is_dir: bool) -> None:
        if path == "/":
            for child in self._place.children(path):
                self._remove(child.path, child.is_dir)
            return
        target = self._place.target(path)
        if is_dir:
            Temporary(target).take_away(target)
        else:
            target.unlink(missing_ok=True)
        sync(target.parent)

    def delete_empty_directory(self, directory: str) -> None:
        with self._place.errors(directory, writing=True), self._publishing:
            status = self._place.status(directory)
            if status is None or not stat.S_ISDIR(status.st_mode):
                return
            if not self._place.is_empty(directory):
                raise ConflictError("The folder is not empty", directory)
            if directory == "/":
                return
            target = self._place.target(directory)
            folder.remove_empty(target, directory)
            sync(target.parent)

    def duplicate(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
                  condition: Condition = None) -> Metadata:
        source = self._check_transfer(path_to_src, path_to_dest, if_version, condition)
        if path_to_src == path_to_dest:
            return source
        if not source.is_dir:
            content = self.read(path_to_src, if_version=source.version)
            return self._publish(content, path_to_dest, condition, source.modified)
        with self._place.errors(path_to_dest, writing=True):
            target = self._place.target(path_to_dest)
            self._place.make_parents(path_to_dest)
            with Temporary(target) as temporary:
                temporary.path.mkdir()
                self._copy_tree(path_to_src, temporary.path)
                with self._publishing:
                    self._replace(temporary.path, path_to_dest, condition)
        return self.get_metadata(path_to_dest)

    def _copy_tree(self, source: str, target: Path) -> None:
        for entry in self._walk(source, recursive=True):
            place = target / entry.path[len(source.rstrip("/")) + 1:]
            if entry.is_dir:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with Temporary(place) as temporary:
                temporary.write(self.read(entry.path, if_version=entry.version), entry.modified)
                temporary.publish()

    def move(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
             condition: Condition = None) -> Metadata:
        source = self._check_transfer(path_to_src, path_to_dest, if_version, condition)
        if path_to_src == path_to_dest:
            return source
        with self._place.errors(path_to_dest, writing=True):
            linked = self._place.target(path_to_src).is_symlink()
            if linked or not self._rename(source, path_to_dest, condition):
                return self._move_by_copy(source, path_to_dest, condition)
        return self.get_metadata(path_to_dest)

    def _rename(self, source: Metadata, destination: str, condition: Condition) -> bool:
        """False where the two lie on different file systems."""
        origin = self._place.target(source.path)
        self._place.make_parents(destination)
        with self._publishing:
            self._check_transfer(source.path, destination, source.version, condition)
            try:
                self._replace(origin, destination, condition)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return False
            sync(origin.parent)
        return True

    def _move_by_copy(self, source: Metadata, destination: str, condition: Condition) -> Metadata:
        copied = self.duplicate(source.path, destination, if_version=source.version, condition=condition)
        self.delete(source.path, source.is_dir, if_version=source.version)
        return copied

    def _check_transfer(self, source: str, destination: str, if_version: str | None, condition: Condition
                        ) -> Metadata:
        found = self.get_metadata(source)
        if not found.is_dir:
            _check_version(found.version, if_version, source)
        check_apart(source, check_path(destination))
        if source != destination:
            with self._place.errors(destination):
                _check_condition(self._place.status(destination), condition, destination)
        return found

    def _replace(self, source: Path, destination: str, condition: Condition) -> None:
        """Rename `source` to `destination`; a folder that is there, or a file where a folder comes, goes."""
        target = self._place.target(destination)
        old = self._place.status(destination)
        _check_condition(old, condition, destination)
        if old is not None and (stat.S_ISDIR(old.st_mode) or source.is_dir()):
            Temporary(target).replace_tree(source, target)
        else:
            source.replace(target)
        sync(target.parent)

    # -- space and life -------------------------------------------------------------------------

    def get_overall_space(self) -> int | None:
        with self._place.errors("/"):
            return shutil.disk_usage(self._place.check_root()).total

    def get_used_space(self) -> int | None:
        with self._place.errors("/"):
            usage = shutil.disk_usage(self._place.check_root())
            return usage.total - usage.free

    def reconnect(self) -> None:
        """Accept the disk that is mounted now as the right one."""
        self._place.forget()


def _check_version(version: str | None, wanted: str | None, path: str) -> None:
    if wanted is not None and version != wanted:
        raise ConflictError("The file has changed in the meantime", path)


def _check_condition(old: os.stat_result | None, condition: Condition, path: str) -> None:
    match condition:
        case IfAbsent() if old is not None:
            raise AlreadyExistsError("There is something here already", path)
        case IfVersion(version) if old is None or stat.S_ISDIR(old.st_mode) or folder.version(old) != version:
            raise ConflictError("The file has changed in the meantime", path)
