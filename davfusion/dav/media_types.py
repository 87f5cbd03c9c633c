"""The media type of a file."""

from __future__ import annotations

import mimetypes
from functools import lru_cache

from davfusion.cache.node import Node

UNKNOWN = "application/octet-stream"
_COMPRESSED = {
    ".gz": "application/gzip", ".bz2": "application/x-bzip2", ".xz": "application/x-xz", ".zst": "application/zstd",
    ".br": UNKNOWN, ".z": "application/x-compress",
}
"""To Python these are encodings of another type; here the file is served as it is."""


def content_type(node: Node) -> str:
    """What the client declared or, failing that, what the end of the name suggests."""
    if node.media_type is not None:
        return node.media_type
    stem, dot, extension = node.name.rpartition(".")
    return _of_extension(extension.lower()) if dot and stem else UNKNOWN


@lru_cache(maxsize=1024)
def _of_extension(extension: str) -> str:
    return _COMPRESSED.get(f".{extension}") or mimetypes.guess_type(f"x.{extension}")[0] or UNKNOWN
