"""Answers about files that are at hand: headers once made, and the bytes of small files."""

from __future__ import annotations

from dataclasses import dataclass

from davfusion.cache.kept import Kept
from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav.dates import http_date
from davfusion.dav.media_types import content_type

SMALL = 64 << 10
"""Bytes of the largest file that is kept in memory."""
LIMIT = 32 << 20
"""Bytes that a process keeps for a share."""
_HEAD = 1 << 10
"""Bytes that headers take, roughly."""
_ACTIVE_TYPES = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")
_SANDBOX = ("Content-Security-Policy", "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'")

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class HotFile:
    """What is known of a file: the headers of the whole of it, to be copied, not changed, and its bytes, or None."""

    node: Node
    media_type: str
    about: Headers
    """What every answer with content says of the file."""
    whole: Headers
    """All headers of an answer with the whole file."""
    body: bytes | None = None
    used: float = 0.0
    """The use of the bytes that was last noted for the order of eviction, seconds since the epoch."""


class HotFiles:
    """Files of one share by content, the least recently used ones go. Thread-safe.

    The bytes of a content never change, so they are right for whatever node the index shows to have it.
    """

    def __init__(self, share: Share, *, limit: int = LIMIT) -> None:
        self._share = share
        self._kept: Kept[int | None, HotFile] = Kept(limit)

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        return self._kept.size

    def about(self, node: Node) -> HotFile:
        """The headers, and the bytes where they are at hand, of a file as it is now."""
        known = self._kept.get(node.content)
        if known is not None and (known.node is node or known.node == node):
            known.node = node  # next time it is the same object
            return known
        file = _described(node)
        if known is not None:
            file.body, file.used = known.body, known.used
        self._keep(file)
        return file

    def body(self, file: HotFile) -> bytes:
        """The bytes of a small file. Raises what `Share.open` and reading raise."""
        if file.body is None:
            file.body = self._read(file.node)
            file.used = self._share.index.now()
            self._keep(file)
        else:
            file.used = self._share.accesses.again(file.node.content or 0, file.used)
        return file.body

    def _read(self, node: Node) -> bytes:
        pieces: list[bytes] = []
        left = node.size
        with self._share.open(node) as reader:
            while left:
                piece = reader.read(left)
                if not piece:
                    raise EOFError(f"The content ended {left} bytes early")
                pieces.append(piece)
                left -= len(piece)
        return b"".join(pieces)

    def _keep(self, file: HotFile) -> None:
        self._kept.put(file.node.content, file, _HEAD + (0 if file.body is None else len(file.body)))


def _described(node: Node) -> HotFile:
    media_type = content_type(node)
    about = [("ETag", node.etag), ("Last-Modified", http_date(node.modified)), ("Accept-Ranges", "bytes")]
    if media_type.partition(";")[0].strip().lower() in _ACTIVE_TYPES:
        about.append(_SANDBOX)
    return HotFile(node, media_type, about,
                   [*about, ("Content-Type", media_type), ("Content-Length", str(node.size))])
