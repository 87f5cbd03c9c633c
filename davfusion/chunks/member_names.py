"""Names of the members of an archive: the paths of the files, made so that any tool can unpack all of them."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

LONGEST_PART = 255
"""Bytes of one part of a name that file systems take."""

LONGEST = 2000
"""Bytes of a whole name; a longer one is replaced."""


class MemberNames:
    """Gives each member a name of its own. Not thread-safe.

    No two names are equal, also where case and Unicode normalisation do not count, and no name is a folder of
    another; ` (2)` and so on is put before the extension where they would be.
    """

    def __init__(self, *reserved: str) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._next: dict[str, int] = {}
        for name in reserved:
            self._take(name)

    def of(self, path: str, content: int) -> str:
        """The name for a file at `path` (absolute), which holds the content of this id."""
        wanted = "/".join(_writable(part) for part in path.strip("/").split("/"))
        parts = wanted.encode().split(b"/")
        if sum(map(len, parts)) + len(parts) > LONGEST or any(len(part) > LONGEST_PART for part in parts):
            wanted = f"long names/{content}"
        name = self._free(wanted)
        self._take(name)
        return name

    def _take(self, name: str) -> None:
        parts = _folded(name).split("/")
        self._files.add("/".join(parts))
        self._folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))

    def _free(self, wanted: str) -> str:
        """The name, with a number in each part that would be in the way."""
        *above, last = wanted.split("/")
        folder = ""
        for part in above:
            folder += self._numbered(folder, part, "", self._files) + "/"
        stem, dot, extension = last.rpartition(".")
        if not stem:
            stem, dot, extension = last, "", ""
        return folder + self._numbered(folder, stem, dot + extension, self._files, self._folders)

    def _numbered(self, folder: str, stem: str, extension: str, *taken: set[str]) -> str:
        """`stem` and `extension`, with the first number that nothing in the folder has."""
        plain = _folded(folder + stem + extension)
        if not any(plain in names for names in taken):
            return stem + extension
        number = self._next.get(plain, 2)
        while any(_folded(f"{folder}{stem} ({number}){extension}") in names for names in taken):
            number += 1
        self._next[plain] = number
        return f"{stem} ({number}){extension}"


def _writable(part: str) -> str:
    """The part of a path without what a ZIP cannot hold, what tools choke on, and what leads elsewhere."""
    text = _CONTROL.sub("_", part.encode("utf-8", "replace").decode("utf-8"))
    return "_" if text in ("", ".", "..") else text


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
