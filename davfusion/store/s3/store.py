"""S3Store: the promises of a Store, kept with the requests of S3."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    PermanentError,
    PermissionDeniedError,
    StoreError,
    TemporaryError,
    TooLargeError,
)
from davfusion.store.interface import (
    Capabilities,
    Condition,
    IfAbsent,
    IfVersion,
    Metadata,
    Store,
    check_path,
)
from davfusion.store.s3 import errors
from davfusion.store.s3.answers import Listed, stream_body
from davfusion.store.s3.client import RangeError, S3Client
from davfusion.store.s3.copying import CopySizes, copy_object
from davfusion.store.s3.keys import Keys, Tree, folder_metadata, is_marker, marker_of
from davfusion.store.s3.signing import Credentials
from davfusion.store.s3.upload import PART, upload_parts
from davfusion.store.transfer import check_apart, check_interrupt, pieces

MAX_FILESIZE = 5 * 1024**4

class S3Store(Store):
    """Objects of a bucket below a prefix, under the same names as their paths.

    Folders are implied by what is in them; an empty one is kept by a hidden marker object. Their
    time is not known (0). A file hides a folder of the same name, and writing one over a folder does
    not remove the folder: delete it first. A copy of a folder is not atomic.

    `conditional=False` is for servers that ignore `If-Match` and `If-None-Match`: conditions are
    then checked by one more request just before.
    """

    def __init__(
        self, bucket: str, credentials: Credentials, *, prefix: str = "", endpoint: str | None = None,
        region: str = "us-east-1", conditional: bool = True, copy_sizes: CopySizes | None = None,
    ) -> None:
        self._bucket, self._region, self._conditional = bucket, region, conditional
        self._credentials = credentials
        self._endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        self._amazon = endpoint is None
        self._copy_sizes = copy_sizes or CopySizes()
        self._keys = Keys(prefix)
        self._prefix = prefix.strip("/")
        self.reconnect()

    def reconnect(self) -> None:
        """Begin anew with fresh connections; transfers under way end on the old ones."""
        self._client = S3Client(self._endpoint, self._bucket, self._credentials, self._region)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            folders=False, atomic_move=False, server_side_copy=True, conditional_write=self._conditional,
            conditional_delete=False, conditional_read=True, recursive_listing=True, keeps_modified=False,
            strong_consistency=True, case_sensitive=True, max_filesize=MAX_FILESIZE)

    def get_name(self) -> str:
        return "Amazon S3" if self._amazon else "S3"

    def account_info(self) -> str:
        place = f"{self._bucket}/{self._prefix}" if self._prefix else self._bucket
        return f"{place} at {self._endpoint}, access key {self._credentials.access_key[:4]}…"

    def get_configuration(self) -> dict[str, str]:
        return {"endpoint": self._endpoint, "region": self._region, "bucket": self._bucket,
                "prefix": self._prefix, "conditional": "yes" if self._conditional else "no"}

    # -- reading ------------------------------------------------------------------------------

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        key = self._reading_key(path)
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"A range has no negative ends: {start}, {stop}")
        check_interrupt(interrupt, path)
        if stop is not None and stop <= start:
            self._check_readable(path, if_version)
            return
        try:
            answer = self._client.get(key, start, stop, if_version, path)
        except RangeError:
            self._check_readable(path, if_version)
            return
        with contextlib.closing(answer):
            yield from stream_body(answer, path, interrupt)

    def _check_readable(self, path: str, if_version: str | None) -> None:
        found = self.get_metadata(path)
        if found.is_dir:
            raise NotFoundError("This is a folder, not a file", path)
        _check_version(found.version, if_version, path)

    def get_metadata(self, path: str) -> Metadata:
        found = None if check_path(path) == "/" else self._head(path)
        if found is not None:
            return found
        if not self._first_keys(path, 1) and path != "/":
            raise NotFoundError("There is nothing here", path)
        return folder_metadata(path)

    def _head(self, path: str) -> Metadata | None:
        try:
            found = self._client.head(self._reading_key(path), path)
        except (PermissionDeniedError, PermanentError):
            # A refused HEAD has no body that says why; a refused listing has.
            self._first_keys(path, 1)
            raise
        if found is None:
            return None
        return Metadata(path, is_dir=False, bytes=found.size, modified=found.modified, version=found.etag)

    def _first_keys(self, directory: str, limit: int) -> set[str]:
        """Some of the keys below a folder."""
        page = self._client.list_page(self._keys.below(directory), delimiter=False, limit=limit, path=directory)
        return {found.key for found in page.objects}

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        if not self._keys.holds(directory):
            return
        prefix, token = self._keys.below(directory), None
        tree = Tree(self._keys, directory)
        while True:
            page = self._client.list_page(prefix, delimiter=not recursive, token=token, path=directory)
            entries = list(tree.entries(page))
            if entries:
                yield entries
            token = page.token
            if token is None:
                return

    def _reading_key(self, path: str) -> str:
        if not self._keys.holds(path) or path == "/":
            raise NotFoundError("There is no such file", path)
        return self._keys.of(path)

    # -- writing ------------------------------------------------------------------------------

    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        key = self._keys.of(path)
        size = fileobject.seek(0, 2)
        fileobject.seek(0)
        if size > MAX_FILESIZE:
            raise TooLargeError("The store does not accept an object of this size", path)
        check_interrupt(interrupt, path)
        told = {} if modified is None else {"x-amz-meta-mtime": f"{modified:.9f}"}
        try:
            if size <= PART:
                body = b"".join(pieces(fileobject, path, interrupt))
                etag = self._put(body, key, path, condition, told, interrupt)
            else:
                etag = self._put_parts(fileobject, size, key, path, condition, told, interrupt)
        except (ConflictError, NotFoundError) as error:
            raise errors.for_condition(error, condition) from error
        return Metadata(path, is_dir=False, bytes=size, modified=time.time(), version=etag)

    def _put(self, body: bytes, key: str, path: str, condition: Condition, told: dict[str, str],
             interrupt: threading.Event | None) -> str:
        if self._conditional:
            return self._client.put(key, body, _headers(condition) | told, path, interrupt=interrupt)
        self._check_condition(path, condition)
        return self._client.put(key, body, told, path, interrupt=interrupt)

    def _put_parts(self, fileobject: BinaryIO, size: int, key: str, path: str, condition: Condition,
                   told: dict[str, str], interrupt: threading.Event | None) -> str:
        """Send a large object and return its ETag.

        The condition is checked before the first part, so that nothing is sent in vain, and before
        the last step, for servers that heed conditions on single requests only. Some answer that
        step with another ETag than they list later: the MD5 of the whole.
        """
        self._check_condition(path, condition)
        sent = upload_parts(
            self._client, fileobject, size, key, path, headers=told, interrupt=interrupt,
            condition=_headers(condition) if self._conditional else {},
            check=lambda: self._check_condition(path, condition))
        found = self._head(path)
        return sent.md5 if found is not None and found.version == sent.md5 else sent.etag

    def _check_condition(self, path: str, condition: Condition) -> None:
        if condition is None:
            return
        found = self._head(path)
        match condition:
            case IfAbsent() if found is not None:
                raise AlreadyExistsError("There is something here already", path)
            case IfVersion(version) if found is None or found.version != version:
                raise ConflictError("The object has changed in the meantime", path)

    def create_directory(self, directory: str) -> None:
        marker = self._keys.marker(directory)
        if directory == "/" or self.exists(directory):
            raise AlreadyExistsError("There is something here already", directory)
        self._client.put(marker, b"", {}, directory)

    def keep_directory(self, directory: str) -> None:
        marker = self._keys.marker(directory)
        if directory == "/":
            return
        if self._head(directory) is not None:
            raise AlreadyExistsError("There is a file here already", directory)
        self._client.put(marker, b"", {}, directory)

    def delete(self, path: str, is_dir: bool, *, if_version: str | None = None) -> None:
        if not self._keys.holds(path):
            return
        if is_dir:
            self._client.delete_many((found.key for found in self._all_objects(path)), path)
            return
        key = self._keys.of(path)
        if if_version is not None:
            found = self._head(path)
            _check_version(if_version if found is None else found.version, if_version, path)
        try:
            self._client.delete(key, path)
        except TemporaryError:
            if not self._is_only_folder(path):
                raise

    def _is_only_folder(self, path: str) -> bool:
        """Servers over a file system fail to delete a key where a folder has the name: no such file is there."""
        try:
            return self.get_metadata(path).is_dir
        except StoreError:
            return False

    def _all_objects(self, directory: str) -> Iterator[Listed]:
        token = None
        while True:
            page = self._client.list_page(self._keys.below(directory), delimiter=False, token=token,
                                          path=directory)
            yield from page.objects
            token = page.token
            if token is None:
                return

    def delete_empty_directory(self, directory: str) -> None:
        if not self._keys.holds(directory):
            return
        below, marker = self._keys.below(directory), self._keys.marker(directory)
        keys = self._first_keys(directory, 3)
        if keys - {below, marker}:
            raise ConflictError("The folder is not empty", directory)
        for key in keys:
            self._client.delete(key, directory)

    def unkeep_directory(self, directory: str) -> None:
        if not self._keys.holds(directory):
            return
        below, marker = self._keys.below(directory), self._keys.marker(directory)
        if below in self._first_keys(directory, 1):
            self._client.delete(below, directory)
        if self._client.head(marker, directory) is not None:
            self._client.delete(marker, directory)

    def duplicate(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
                  condition: Condition = None) -> Metadata:
        source = self.get_metadata(path_to_src)
        if not source.is_dir:
            _check_version(source.version, if_version, path_to_src)
        check_apart(path_to_src, check_path(path_to_dest))
        if path_to_src == path_to_dest:
            return source
        self._check_destination(path_to_dest, condition)
        if source.is_dir:
            return self._copy_folder(path_to_src, path_to_dest)
        return self._copy_file(source, path_to_dest)

    def _check_destination(self, path: str, condition: Condition) -> None:
        self._check_condition(path, condition)
        if isinstance(condition, IfAbsent) and self.exists(path):
            raise AlreadyExistsError("There is a folder here already", path)

    def _copy_file(self, source: Metadata, destination: str) -> Metadata:
        original = Listed(self._keys.of(source.path), source.bytes, source.modified, source.version or "")
        made = copy_object(self._client, original, self._keys.of(destination), self._copy_sizes, source.path)
        modified = time.time() if made.modified is None else made.modified
        return Metadata(destination, is_dir=False, bytes=source.bytes, modified=modified, version=made.etag)

    def _copy_folder(self, source: str, destination: str) -> Metadata:
        """Copy every key, also those that are no path, then remove what the destination held besides.

        A file at the destination goes first: servers over a file system take nothing below it.
        """
        if self._head(destination) is not None:
            self.delete(destination, is_dir=False)
        below, target = self._keys.below(source), self._keys.below(destination)
        old = {found.key for found in self._all_objects(destination)}
        copied = set()
        for found in self._all_objects(source):
            key = target + found.key[len(below):]
            if is_marker(found.key):
                key = marker_of(key)
                self._client.put(key, b"", {}, destination)
            else:
                copy_object(self._client, found, key, self._copy_sizes, source)
            copied.add(key)
        self._client.delete_many(old - copied, destination)
        return folder_metadata(destination)

    def move(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
             condition: Condition = None) -> Metadata:
        source = self.get_metadata(path_to_src)
        made = self.duplicate(path_to_src, path_to_dest, if_version=if_version or source.version,
                              condition=condition)
        if path_to_src != path_to_dest:
            self.delete(path_to_src, source.is_dir, if_version=source.version)
        return made

    # -- space and life -------------------------------------------------------------------------

    def get_overall_space(self) -> int | None:
        return None

    def get_used_space(self) -> int | None:
        return None

    def close(self) -> None:
        self._client.close()


def _headers(condition: Condition) -> dict[str, str]:
    match condition:
        case IfAbsent():
            return {"If-None-Match": "*"}
        case IfVersion(version):
            return {"If-Match": f'"{version}"'}
    return {}


def _check_version(version: str | None, wanted: str | None, path: str) -> None:
    if wanted is not None and version != wanted:
        raise ConflictError("The object has changed in the meantime", path)
