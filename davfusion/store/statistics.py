"""StatisticsStore: counts what is asked of a store."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from davfusion.store.interface import Condition, Metadata, Store
from davfusion.store.wrapper import WrappedStore


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was asked of a store since it was wrapped. The keys are names of methods and of errors."""

    requests: dict[str, int]
    """Calls that have begun, by verb."""
    seconds: dict[str, float]
    """Time in calls that have ended, by verb; of a stream, until its end."""
    pages: int
    """Pages of listings received."""
    errors: dict[str, int]
    bytes_read: int
    bytes_written: int
    """Bytes of published files."""


class StatisticsStore(WrappedStore):
    """Passes everything through and counts it. Safe for several threads."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._pages = self._read = self._written = 0

    def snapshot(self) -> Statistics:
        """The counts as they are now."""
        with self._lock:
            return Statistics(
                requests=dict(self._requests), seconds=dict(self._seconds), pages=self._pages,
                errors=dict(self._errors), bytes_read=self._read, bytes_written=self._written)

    @contextlib.contextmanager
    def around(self, verb: str, path: str) -> Iterator[None]:
        del path
        with self._lock:
            self._requests[verb] += 1
        begin = time.monotonic()
        try:
            yield
        except Exception as error:
            with self._lock:
                self._errors[type(error).__name__] += 1
            raise
        finally:
            with self._lock:
                self._seconds[verb] = self._seconds.get(verb, 0.0) + time.monotonic() - begin

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        stream = super().read(path, start, stop, if_version=if_version, interrupt=interrupt)
        for piece in stream:
            with self._lock:
                self._read += len(piece)
            yield piece

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        for page in super().list_pages(directory, recursive=recursive):
            with self._lock:
                self._pages += 1
            yield page

    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        stored = super().store_fileobject(
            fileobject, path, condition=condition, modified=modified, interrupt=interrupt)
        with self._lock:
            self._written += stored.bytes
        return stored
