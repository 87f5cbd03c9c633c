"""Rendered folders that are still true: where nothing has changed, nothing is rendered again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from davfusion.cache.generation import Generation
from davfusion.cache.kept import Kept

LIMIT = 32 << 20
"""Bytes of rendered folders that a process keeps for a share."""


class RenderedFolders:
    """Answers by what was asked, each for one generation of the index; the least recently used ones go. Thread-safe."""

    def __init__(self, generation: Generation, *, limit: int = LIMIT) -> None:
        self._generation = generation
        self._kept: Kept[Hashable, tuple[int, bytes]] = Kept(limit)

    def slot(self, key: Hashable) -> Slot:
        """The place of one answer. What it is rendered from must be read after this call."""
        return Slot(self, key, self._generation.now())

    def get(self, key: Hashable, generation: int) -> bytes | None:
        """What was kept in this generation."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and kept[0] == generation else None

    def put(self, key: Hashable, generation: int, body: bytes) -> None:
        """Keep an answer, unless it would take more than a quarter of the room."""
        self._kept.put(key, (generation, body), len(body))


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
