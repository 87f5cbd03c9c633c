"""The base of stores that wrap another: everything goes through, with a hook around each request."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import BinaryIO

from davfusion.store.interface import Capabilities, Condition, Metadata, Store


class WrappedStore(Store):
    """Passes every verb to `store`; a subclass overrides what it changes.

    The verbs that the interface derives from others (`get_file`, `exists`, ...) are derived from the
    wrapper's own. As safe for threads as the store inside.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextlib.contextmanager
    def around(self, verb: str, path: str) -> Iterator[None]:
        """Runs around each request; `verb` is the name of the method. For a stream: until its end."""
        del verb, path
        yield

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    def get_name(self) -> str:
        return self._store.get_name()

    def account_info(self) -> str:
        return self._store.account_info()

    def get_logging_handler(self) -> str:
        return self._store.get_logging_handler()

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        with self.around("read", path), contextlib.ExitStack() as stack:
            stream = self._store.read(path, start, stop, if_version=if_version, interrupt=interrupt)
            if (close := getattr(stream, "close", None)) is not None:
                stack.callback(close)
            yield from stream

    def get_metadata(self, path: str) -> Metadata:
        with self.around("get_metadata", path):
            return self._store.get_metadata(path)

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        with self.around("list_pages", directory):
            yield from self._store.list_pages(directory, recursive=recursive)

    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        with self.around("store_fileobject", path):
            return self._store.store_fileobject(
                fileobject, path, condition=condition, modified=modified, interrupt=interrupt)

    def create_directory(self, directory: str) -> None:
        with self.around("create_directory", directory):
            self._store.create_directory(directory)

    def keep_directory(self, directory: str) -> None:
        with self.around("keep_directory", directory):
            self._store.keep_directory(directory)

    def delete(self, path: str, is_dir: bool, *, if_version: str | None = None) -> None:
        with self.around("delete", path):
            self._store.delete(path, is_dir, if_version=if_version)

    def delete_empty_directory(self, directory: str) -> None:
        with self.around("delete_empty_directory", directory):
            self._store.delete_empty_directory(directory)

    def unkeep_directory(self, directory: str) -> None:
        with self.around("unkeep_directory", directory):
            self._store.unkeep_directory(directory)

    def duplicate(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
                  condition: Condition = None) -> Metadata:
        with self.around("duplicate", path_to_dest):
            return self._store.duplicate(path_to_src, path_to_dest, if_version=if_version, condition=condition)

    def move(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
             condition: Condition = None) -> Metadata:
        with self.around("move", path_to_dest):
            return self._store.move(path_to_src, path_to_dest, if_version=if_version, condition=condition)

    def get_overall_space(self) -> int | None:
        with self.around("get_overall_space", "/"):
            return self._store.get_overall_space()

    def get_used_space(self) -> int | None:
        with self.around("get_used_space", "/"):
            return self._store.get_used_space()

    def get_free_space(self) -> int | None:
        with self.around("get_free_space", "/"):
            return self._store.get_free_space()

    def reconnect(self) -> None:
        self._store.reconnect()

    def get_configuration(self) -> dict[str, str]:
        return self._store.get_configuration()

    def set_configuration(self, config: dict[str, str]) -> None:
        self._store.set_configuration(config)

    def close(self) -> None:
        self._store.close()
