"""What the journal and the snapshots say, one value per line. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ROOT = 1
"""The node of the root folder. It is there without a line; a line gives its times and properties."""

NO_PARENT = 0
"""What the line of the root names as its parent."""

Method = Literal["stored", "deflate"]
"""How the bytes of a part lie in their object: as they are, or as a raw deflate stream (RFC 1951)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of an object that holds a range of a content."""

    object: str
    """Store path of an archive or a block."""
    offset: int
    """Position of the first stored byte in the object."""
    length: int
    """Stored bytes."""
    size: int
    """Bytes of content; at least 1 where a content line names the part."""
    method: Method
    crc32: int
    """CRC-32 (as in ZIP) of the bytes of content."""


@dataclass(frozen=True, slots=True)
class ContentLine:
    """The bytes of one version of a file: its parts, in order. An empty content has none."""

    content: int
    size: int
    sha256: str | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class NodeLine:
    """A file or folder as it is from this entry on."""

    node: int
    parent: int
    """The node of its folder; NO_PARENT for the root."""
    name: str
    """Any text without `/` and NUL, but not `.` or `..`; empty for the root only."""
    folder: bool
    content: int | None
    """The content of a file; None for a folder."""
    modified: float
    created: float
    media_type: str | None
    properties: Mapping[str, str]
    """Dead properties: from the name in Clark notation (no braces without a namespace) to the whole element as XML."""


@dataclass(frozen=True, slots=True)
class RemovalLine:
    """The node, and all that is below it once the nodes of the entry are in place, is gone."""

    node: int


@dataclass(frozen=True, slots=True)
class ObjectLine:
    """An archive or a block that contents lie in."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """An object that no content of the journal lies in any more; it may be deleted after the grace period."""

    path: str


Line = ObjectLine | ContentLine | NodeLine | RemovalLine | ReleaseLine
