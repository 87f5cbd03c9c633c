"""Answers of PROPFIND that are still true: where nothing has changed, nothing is rendered again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

from davfusion.cache.index.paths import Member
from davfusion.cache.kept import Kept
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav.properties import Dead

LIMIT = 32 << 20
"""Bytes of answers that a process keeps for a share."""
_EACH = 512
"""Bytes that an answer takes beside its body, roughly."""


class Matter(NamedTuple):
    """What an answer is made of. From equal matter the same answer is made."""

    node: Node
    members: list[Member]
    dead: tuple[Dead, Mapping[int, Dead]]
    """Dead properties of the node, and of members by their ids."""

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        found = (self.dead[0], *self.dead[1].values())
        return 400 * len(self.members) + sum(200 + len(xml) for each in found for xml in each.values())


class _Answer(NamedTuple):
    """What was true in one generation of the index, of listings that are good from and until these times."""

    body: bytes
    matter: Matter | None
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
        return Slot(self, key, self._share.generation.now(), self._share.index.now(), until)

    def get(self, key: Hashable) -> _Answer | None:
        """What was kept last, true or not."""
        return self._kept.get(key)

    def put(self, key: Hashable, answer: _Answer) -> None:
        """Keep an answer, unless it would take more than a quarter of the room."""
        size = _EACH + len(answer.body) + (0 if answer.matter is None else answer.matter.size)
        self._kept.put(key, answer, size)


class Slot:
    """The place of one answer in one generation. Used by one thread."""

    def __init__(self, rendered: Rendered, key: Hashable, generation: int, since: float, until: float) -> None:
        self._rendered = rendered
        self._key = key
        self._generation = generation
        self._since = since
        self._until = until
        self._former = rendered.get(key)
        self._matter: Matter | None = None

    def still_true(self) -> bytes | None:
        """The answer, if nothing was changed since it was rendered."""
        return self._again(self._former is not None and self._former.generation == self._generation)

    def made_of(self, matter: Matter) -> bytes | None:
        """The answer, if it was rendered from the same matter before; else it will be kept as made of this."""
        self._matter = matter
        return self._again(self._former is not None and self._former.matter == matter)

    def _again(self, same: bool) -> bytes | None:
        if self._former is None or not same:
            return None
        self._matter = self._former.matter
        self.keep(self._former.body)
        return self._former.body

    def keep(self, body: bytes) -> None:
        """Keep a whole answer."""
        self._rendered.put(self._key, _Answer(body, self._matter, self._generation, self._since, self._until))

    def kept(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, kept together once all were taken."""
        taken: list[bytes] = []
        for piece in pieces:
            taken.append(piece)
            yield piece
        self.keep(b"".join(taken))
