"""Files by the thousand, of which each is known by its path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder with folders with files that do not compress."""

    folder: str
    """Such as `/saved`."""
    folders: int
    each: int
    """Files in one folder."""
    size: int = 4096
    """Bytes of one file."""

    def folder_paths(self) -> list[str]:
        """Without the one that holds them, and without a `/` at the end."""
        return [f"{self.folder}/{number:04}" for number in range(self.folders)]

    def paths(self) -> list[str]:
        """Of the files, folder by folder."""
        return [f"{folder}/{number:05}.bin" for folder in self.folder_paths() for number in range(self.each)]

    def content(self, path: str) -> bytes:
        """The bytes of the file of this path."""
        return Random(path).randbytes(self.size)

    def samples(self) -> Iterator[str]:
        """The first and the last file of some folders."""
        paths = self.paths()
        for start in range(0, len(paths), self.each * max(1, self.folders // 10)):
            yield paths[start]
            yield paths[start + self.each - 1]
