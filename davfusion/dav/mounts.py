"""Which share a URL belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from davfusion.cache.kept import Kept
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav.href import normalise, spellings

_LIMIT = 2 << 20
"""Bytes of located paths that a process keeps at hand, roughly."""
_EACH = 512


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a share: `place` is where the share lies (`/` or `/name`), `prefix` the decoded URL path of its root
    without `/` at the end, `path` the local path as the URL spells it, `ends_in_slash` whether the URL had a `/` at
    its end."""

    share: Share
    place: str
    prefix: str
    path: str
    ends_in_slash: bool


class Mounts:
    """The shares of a server by their place: `/` or `/name`. Thread-safe.

    A name is found as it is written or, failing that, in any case.
    """

    def __init__(self, shares: Mapping[str, Share]) -> None:
        """Raises ValueError for a place that is not `/` or one segment, and for `/` beside other shares."""
        self._shares = {"/" + place.strip("/"): share for place, share in shares.items()}
        for place in self._shares:
            if place.count("/") != 1 or place in ("/.", "/.."):
                raise ValueError(f"A share lies at / or at /name, not at {place!r}")
        if "/" in self._shares and len(self._shares) > 1:
            raise ValueError("A share at / leaves no room for others: give each a name")
        self._folded = {place.casefold(): place for place in self._shares}
        self._located: Kept[tuple[str, str], Location] = Kept(_LIMIT)

    @property
    def shares(self) -> Mapping[str, Share]:
        """The shares by place, each place starting with `/`."""
        return self._shares

    def locate(self, url_path: str, script_name: str = "") -> Location | None:
        """The place that a decoded URL path (below `script_name`) names, or None where no share is.

        Raises BadPathError.
        """
        located = self._located.get((url_path, script_name))
        if located is None:
            located = self._locate(url_path, script_name)
            if located is None:
                return None
            self._located.put((url_path, script_name), located, _EACH + 3 * len(url_path))
        return located

    def _locate(self, url_path: str, script_name: str) -> Location | None:
        path, ends_in_slash = normalise(url_path)
        root = self._shares.get("/")
        if root is not None:
            return Location(root, "/", script_name, path, ends_in_slash)
        first, _, rest = path[1:].partition("/")
        place = "/" + first
        if place not in self._shares:
            place = self._folded.get(place.casefold(), "")
        share = self._shares.get(place)
        if share is None:
            return None
        return Location(share, place, script_name + place, "/" + rest, ends_in_slash)


def spelled_path(share: Share, path: str) -> tuple[str, Node | None]:
    """The local path as the share spells it, and what is there. Raises StoreError when the store had to be asked."""
    return _spelled(share.find, path)


def spelled_place(share: Share, path: str) -> tuple[str, Node | None]:
    """As `spelled_path`, for what is about to be written."""
    return _spelled(share.find_place, path)


def _spelled(find: Callable[[str], Node | None], path: str) -> tuple[str, Node | None]:
    """Look a path up by any spelling.

    Clients write the same name composed (NFC) or decomposed (NFD); what exists is found under either, part by
    part, the client's own spelling first. What does not exist keeps the client's spelling.
    """
    node = find(path)
    if node is not None or path.isascii():
        return path, node
    found: Node | None = find("/")
    folder = ""
    segments = path[1:].split("/")
    for index, segment in enumerate(segments):
        for name in (segment, *spellings(segment)):
            found = find(f"{folder}/{name}")
            if found is not None:
                folder = found.path
                break
        else:
            return "/".join([folder, *segments[index:]]), None
    return folder, found
