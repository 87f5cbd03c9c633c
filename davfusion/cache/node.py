"""The values that the cache room hands out: nodes, locks, property changes, quota.

All are snapshots: they do not change when the tree does. Paths are local paths: absolute,
`/`-separated, `/` for the root, no `/` at the end of any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

ROOT_ID = 1
"""Node id of the root folder."""


class Node(NamedTuple):
    """One file or folder of the local tree, as clients see it. A tuple, because a listing makes one for each member."""

    id: int
    path: str
    is_folder: bool
    content: int | None
    """Content id of a file; None for a folder."""
    size: int
    """Bytes; 0 for a folder."""
    modified: float
    created: float
    etag: str
    """Strong entity tag, quoted as it goes on the wire (RFC 9110, 8.8.3). Of a file it names the bytes: it is
    derived from the content id and survives upload, eviction and restart. Of a folder it names its node."""
    media_type: str | None
    """What the client declared on PUT, or None."""
    dirty: bool
    """The node itself differs here from what the store is known to hold."""

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Lock:
    """One write lock (RFC 4918, 6). `path` is its root; a MOVE of that, or of a folder above, ends it (7.7)."""

    token: str
    """`opaquelocktoken:...` or `urn:uuid:...`, without angle brackets."""
    path: str
    exclusive: bool
    infinite: bool
    """Depth infinity; False is depth 0."""
    owner: bytes
    """The client's DAV:owner element as XML, or empty."""
    principal: str
    timeout: float
    """Seconds granted at the last refresh."""
    expires: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """Set (`xml` given) or remove (`xml` None) one dead property.

    `name` is in Clark notation (`{namespace}local`); `xml` is the whole property element, serialised.
    """

    name: str
    xml: bytes | None


@dataclass(frozen=True, slots=True)
class Quota:
    """RFC 4331: bytes used, and bytes that can still be written (None: unknown)."""

    used: int
    available: int | None
