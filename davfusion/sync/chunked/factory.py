"""Decides which contents travel together: small ones in archives, in tree order; large ones alone, as blocks.

Pure: it works on values and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Packing:
    """Sizes in bytes."""

    pack_below: int = 1 << 20
    """Files smaller than this go into archives."""
    archive_size: int = 16 << 20
    """An archive is sealed when the contents in it reach this size."""
    block_size: int = 4 << 20
    """Larger files travel in blocks of this size."""
    compress: bool = True
    """Members of archives are deflated where that makes them smaller."""


@dataclass(frozen=True, slots=True)
class Item:
    """A content that waits, and the local path of a file that has it."""

    content: int
    size: int
    path: str
    modified: float
    node: int


@dataclass(slots=True)
class _Open:
    """An archive that takes more contents."""

    items: list[Item] = field(default_factory=list)
    size: int = 0


class ChunkFactory:
    """Sorts what waits into archives and single files."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing

    def is_small(self, item: Item) -> bool:
        """Whether it goes into an archive."""
        return item.size < self._packing.pack_below

    def archives(self, waiting: Iterable[Item], *, largest: int | None = None) -> list[Sequence[Item]]:
        """The small contents, each once, in archives of about the right size; a folder's files lie together.

        `largest` is for a store that had no room for a larger one.
        """
        limit = min(self._packing.archive_size, largest or self._packing.archive_size)
        sealed: list[Sequence[Item]] = []
        current = _Open()
        small = (item for item in waiting if self.is_small(item))
        for item in sorted(_each_once(small), key=_tree_order):
            if current.items and current.size + item.size > limit:
                sealed.append(current.items)
                current = _Open()
            current.items.append(item)
            current.size += item.size
        if current.items:
            sealed.append(current.items)
        return sealed

    def singles(self, waiting: Iterable[Item]) -> list[Item]:
        """The large contents, each once, the smallest first."""
        large = (item for item in waiting if not self.is_small(item))
        return sorted(_each_once(large), key=lambda item: item.size)


def _each_once(items: Iterable[Item]) -> list[Item]:
    by_content: dict[int, Item] = {}
    for item in items:
        by_content.setdefault(item.content, item)
    return list(by_content.values())


def _tree_order(item: Item) -> tuple[list[str], str]:
    """A folder's files before those of the folders in it."""
    folder, _, name = item.path.rpartition("/")
    return folder.split("/"), name
