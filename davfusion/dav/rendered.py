"""Answers of PROPFIND that are still true: where nothing has changed, nothing is rendered again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from davfusion.cache.kept import Kept
from davfusion.cache.share import Share

LIMIT = 32 << 20
"""Bytes of answers that a process keeps for a share."""
_EACH = 512
"""Bytes that an answer takes beside its body, roughly."""


class _Answer(NamedTuple):
    """What was true in one generation of the index, of listings that are good from and until these times."""

    body: bytes
    generation: int
    since: float
    until: float


class Rendered:
    """Answers of one share by what was asked, the least recently used ones go. Thread-safe."""

    def __init__(self, share: Share, *, limit: int = LIMIT) -> None:
        self._share = share
        self._kept: Kept[Hashable, _Answer] = Kept(limit)

    def fresh(self, key: Hashable) -> bytes | None:
        """An answer for which nothing needs to be listed, and since which nothing was changed."""
        answer = self._kept.get(key)
        if answer is None or answer.generation != self._share.generation.now():
            return None
        return answer.body if answer.since <= self._share.index.now() < answer.until else None

    def slot(self, key: Hashable, until: float) -> Slot:
        """The place of one answer. What it is rendered from must be read after this call.

        `until`: seconds since the epoch to which the listings that it shows are good.
        """
        return Slot(self, key, self._share.generation.now(), until)

    def get(self, key: Hashable, generation: int) -> bytes | None:
        """What was kept in this generation, however old the listings are."""
        answer = self._kept.get(key)
        return answer.body if answer is not None and answer.generation == generation else None

    def put(self, key: Hashable, generation: int, until: float, body: bytes) -> None:
        """Keep an answer, unless it would take more than a quarter of the room."""
        self._kept.put(key, _Answer(body, generation, self._share.index.now(), until), _EACH + len(body))


class Slot:
    """The place of one answer in one generation."""

    def __init__(self, rendered: Rendered, key: Hashable, generation: int, until: float) -> None:
        self._rendered = rendered
        self._key = key
        self._generation = generation
        self._until = until

    @property
    def body(self) -> bytes | None:
        """The answer, if it was rendered already."""
        return self._rendered.get(self._key, self._generation)

    def keep(self, body: bytes) -> None:
        """Keep a whole answer."""
        self._rendered.put(self._key, self._generation, self._until, body)

    def kept(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, kept together once all were taken."""
        taken: list[bytes] = []
        for piece in pieces:
            taken.append(piece)
            yield piece
        self.keep(b"".join(taken))
