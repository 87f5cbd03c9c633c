"""Where the bytes of contents come from that are not here: the objects of the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol

from davfusion.cache.index import Content, Index, Record
from davfusion.store.errors import ConflictError
from davfusion.store.interface import Store


class Source(Protocol):
    """Reads contents from the store. Thread-safe."""

    def read(self, content: int, start: int, stop: int, *, interrupt: threading.Event | None = None
             ) -> Iterator[bytes]:
        """The bytes [start, stop) of a content. Closing the iterator ends the transfer.

        Raises StoreError; ConflictError or NotFoundError when the store does not hold this content any more.
        """

    def read_small(self, content: Content, largest: int) -> dict[int, bytes]:
        """All bytes of a content, by its id, and of others up to `largest` bytes that came along. Raises as `read`."""


class ObjectSource:
    """Each file is an object of its own (the plain layout)."""

    def __init__(self, index: Index, store: Store) -> None:
        self._index = index
        self._store = store

    def read(self, content: int, start: int, stop: int, *, interrupt: threading.Event | None = None
             ) -> Iterator[bytes]:
        """See `Source`."""
        holder = self._holder(content)
        return self._store.read(
            holder.synced_path or "", start, stop, if_version=holder.synced_version, interrupt=interrupt)

    def read_small(self, content: Content, largest: int) -> dict[int, bytes]:
        """See `Source`; nothing comes along."""
        del largest
        return {content.id: b"".join(self.read(content.id, 0, content.size))}

    def _holder(self, content: int) -> Record:
        """The node whose object in the store holds the content. Raises ConflictError when there is none."""
        holders = self._index.view().nodes.holders(content)
        if not holders:
            raise ConflictError("The file was changed in the store")
        return holders[0]
