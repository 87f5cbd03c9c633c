"""The files that every server serves: the same names and bytes for each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SMALL = 4096
SMALL_FILES = 100
MEMBERS = 1000
"""Files in the folder that is moved and copied."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much there is."""

    big: int = 512 << 20
    """Bytes of the large file."""
    listings: tuple[int, ...] = (100, 1000, 10_000)
    """Entries of the folders that are listed."""
    saved: tuple[int, int] = (50, 100)
    """Folders that are saved into the cloud, and files in each."""
    cold: int = 500
    """Files of the folder that is read and listed from the cloud."""
    moved: int = 10_000
    """Files of the folder that is moved and copied in the cloud."""
    changed: int = 1 << 30
    """Bytes of the file in the cloud of which a part is changed."""
    recovered: tuple[int, int] = (1000, 100)
    """Folders of the share that is recovered from the cloud, and files in each."""

    @property
    def big_name(self) -> str:
        """For people."""
        return f"{self.big >> 20} MiB"


FULL = Scale()
QUICK = Scale(big=32 << 20, saved=(10, 10), cold=50, moved=500, changed=256 << 20, recovered=(50, 100))


def make(folder: Path, scale: Scale, *, listings: Iterable[int]) -> None:
    """Fill an empty folder. Only these `listings` of the scale are made.

        small/0000.bin ...   files of 4 KiB
        listed/N/            folders with N files of 16 bytes
        big.bin              the large file
        moved.bin            the file that is moved
        members/             the folder with a thousand files that is moved and copied
        put/                 where new files go
    """
    (folder / "put").mkdir(parents=True)
    _files(folder / "small", SMALL_FILES, os.urandom(SMALL))
    for count in listings:
        _files(folder / "listed" / str(count), count, b"0123456789abcdef")
    _files(folder / "members", MEMBERS, b"0123456789abcdef")
    (folder / "moved.bin").write_bytes(os.urandom(SMALL))
    piece = os.urandom(1 << 20)
    with (folder / "big.bin").open("wb") as big:
        for number in range(scale.big >> 20):
            big.write(number.to_bytes(8, "big") + piece[8:])


def copy(source: Path, target: Path) -> None:
    """A tree of a server's own. The large file, which nobody writes to, is the same one on the disk."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("big.bin"))
    os.link(source / "big.bin", target / "big.bin")


def _files(folder: Path, count: int, content: bytes) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:04}.bin").write_bytes(content)
