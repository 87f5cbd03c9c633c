"""A store with the rules of an object store, in memory: no folders, no renames, conditional writes.

The model runs thousands of steps on it; the same rules on real servers are the contract suite's part.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from davfusion.store.errors import AlreadyExistsError, ConflictError, NotFoundError
from davfusion.store.interface import Capabilities, Condition, IfAbsent, IfVersion, Metadata, Store, check_path

MARKER = ".davfusion-folder"


@dataclasses.dataclass(frozen=True)
class Thing:
    data: bytes
    version: str


class Bucket(Store):
    """Objects by key. Not for several threads at once."""

    def __init__(self) -> None:
        self.objects: dict[str, Thing] = {}
        self._versions = itertools.count(1)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            folders=False, atomic_move=False, server_side_copy=True, conditional_write=True, conditional_delete=True,
            conditional_read=True, recursive_listing=True, keeps_modified=False, strong_consistency=True,
            case_sensitive=True, max_filesize=10**12)

    def get_name(self) -> str:
        return "Bucket"

    def account_info(self) -> str:
        return "Bucket in memory"

    def read(self, path, start=0, stop=None, *, if_version=None, interrupt=None) -> Iterator[bytes]:
        thing = self._get(path)
        if if_version is not None and thing.version != if_version:
            raise ConflictError("Another version", path)
        data = thing.data[start:stop]
        for offset in range(0, len(data), 4096):
            yield data[offset:offset + 4096]

    def get_metadata(self, path) -> Metadata:
        if path in self.objects:
            return self._metadata(path)
        if path == "/" or any(key.startswith(path + "/") for key in self.objects):
            return Metadata(path, is_dir=True, bytes=0, modified=0.0, version=None)
        raise NotFoundError("Nothing here", path)

    def list_pages(self, directory, *, recursive=False) -> Iterator[list[Metadata]]:
        prefix = directory.rstrip("/") + "/"
        found: dict[str, Metadata] = {}
        for key in self.objects:
            if not key.startswith(prefix):
                continue
            name, below, _ = key[len(prefix):].partition("/")
            if below and recursive:
                found[key] = self._metadata(key)
            elif below:
                found.setdefault(prefix + name, Metadata(prefix + name, True, 0, 0.0, None))
            elif name != MARKER:
                found[key] = self._metadata(key)
        yield list(found.values())

    def store_fileobject(self, fileobject, path, *, condition: Condition = None, modified=None,
                         interrupt=None) -> Metadata:
        fileobject.seek(0)
        data = bytearray()
        while piece := fileobject.read(4096):
            data += piece
        return self._put(path, bytes(data), condition)

    def create_directory(self, directory) -> None:
        if self.exists(directory):
            raise AlreadyExistsError("There already", directory)
        self._put(f"{directory}/{MARKER}", b"", None)

    def keep_directory(self, directory) -> None:
        if directory in self.objects:
            raise AlreadyExistsError("There already", directory)
        self._put(f"{directory}/{MARKER}", b"", None)

    def delete(self, path, is_dir, *, if_version=None) -> None:
        if is_dir:
            for key in [key for key in self.objects if key.startswith(path + "/")]:
                del self.objects[key]
            return
        thing = self.objects.get(path)
        if thing is not None and if_version is not None and thing.version != if_version:
            raise ConflictError("Another version", path)
        self.objects.pop(path, None)

    def unkeep_directory(self, directory) -> None:
        self.objects.pop(f"{directory}/{MARKER}", None)

    def duplicate(self, path_to_src, path_to_dest, *, if_version=None, condition: Condition = None) -> Metadata:
        thing = self._get(path_to_src)
        if if_version is not None and thing.version != if_version:
            raise ConflictError("Another version", path_to_src)
        return self._put(path_to_dest, thing.data, condition)

    def move(self, path_to_src, path_to_dest, *, if_version=None, condition: Condition = None) -> Metadata:
        raise AssertionError("An object store cannot rename")

    def get_overall_space(self) -> None:
        return None

    def get_used_space(self) -> int:
        return sum(len(thing.data) for thing in self.objects.values())

    def _put(self, path: str, data: bytes, condition: Condition) -> Metadata:
        check_path(path)
        there = self.objects.get(path)
        if isinstance(condition, IfAbsent) and there is not None:
            raise AlreadyExistsError("There already", path)
        if isinstance(condition, IfVersion) and (there is None or there.version != condition.version):
            raise ConflictError("Another version", path)
        self.objects[path] = Thing(data, f"v{next(self._versions)}")
        return self._metadata(path)

    def _get(self, path: str) -> Thing:
        if path not in self.objects:
            raise NotFoundError("Nothing here", path)
        return self.objects[path]

    def _metadata(self, path: str) -> Metadata:
        thing = self.objects[path]
        return Metadata(path, is_dir=False, bytes=len(thing.data), modified=0.0, version=thing.version)
