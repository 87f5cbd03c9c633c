"""Rendered folders that are still true: where nothing has changed, nothing is rendered again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator

from davfusion.cache.generation import Generation

LIMIT = 32 << 20
"""Bytes of rendered folders that a process keeps for a share."""


class RenderedFolders:
    """Answers by what was asked, each for one generation of the index; the least recently used ones go. Thread-safe."""

    def __init__(self, generation: Generation, *, limit: int = LIMIT) -> None:
        self._generation = generation
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[int, bytes]] = OrderedDict()
        self._size = 0

    def slot(self, key: Hashable) -> Slot:
        """The place of one answer. What it is rendered from must be read after this call."""
        return Slot(self, key, self._generation.now())

    def get(self, key: Hashable, generation: int) -> bytes | None:
        """What was kept in this generation."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != generation:
                return None
            self._kept.move_to_end(key)
            return kept[1]

    def put(self, key: Hashable, generation: int, body: bytes) -> None:
        """Keep an answer, unless it would take more than a quarter of the room."""
        if len(body) > self._limit // 4:
            return
        with self._lock:
            self._size += len(body) - len(self._kept.pop(key, (0, b""))[1])
            self._kept[key] = (generation, body)
            while self._size > self._limit:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._size -= len(oldest)


class Slot:
    """The place of one answer in one generation."""

    def __init__(self, folders: RenderedFolders, key: Hashable, generation: int) -> None:
        self._folders = folders
        self._key = key
        self._generation = generation

    @property
    def body(self) -> bytes | None:
        """The answer, if it was rendered already."""
        return self._folders.get(self._key, self._generation)

    def keep(self, body: bytes) -> None:
        """Keep a whole answer."""
        self._folders.put(self._key, self._generation, body)

    def kept(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, kept together once all were taken."""
        taken: list[bytes] = []
        for piece in pieces:
            taken.append(piece)
            yield piece
        self.keep(b"".join(taken))
