"""The live properties (RFC 4918, 15; RFC 4331; Microsoft's file times) as rendered elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from davfusion.cache.node import Node, Quota
from davfusion.dav import xml
from davfusion.dav.dates import http_date, iso_date
from davfusion.dav.lock_xml import SUPPORTED_LOCK, LocksOfTree, lock_discovery
from davfusion.dav.media_types import content_type

MICROSOFT = "{urn:schemas-microsoft-com:}"
WIN32_MODIFIED = MICROSOFT + "Win32LastModifiedTime"
WIN32_CREATED = MICROSOFT + "Win32CreationTime"

Dead = Mapping[str, bytes]
"""Dead properties of a node: Clark name to element."""


class Scene:
    """What rendering needs to know beside the node: URLs, locks and, only when asked for, the quota."""

    def __init__(self, href: Callable[[Node], str], *, locks: LocksOfTree | None = None,
                 lock_root: Callable[[str], str] = str, quota: Callable[[], Quota] | None = None) -> None:
        """`href` and `lock_root` give URLs for XML; `locks` and `quota` None where there are none."""
        self.href = href
        self.lock_root = lock_root
        self.locks = locks
        self._ask_quota = quota
        self._quota: Quota | None = None

    @property
    def quota(self) -> Quota | None:
        """Asked for once."""
        if self._quota is None and self._ask_quota is not None:
            self._quota = self._ask_quota()
        return self._quota


Live = Callable[[Scene, Node], str | None]
"""Renders the element of a live property; None where the node does not have it."""


def _resourcetype(_: Scene, node: Node) -> str:
    return "<D:resourcetype><D:collection/></D:resourcetype>" if node.is_folder else "<D:resourcetype/>"


def _contentlength(_: Scene, node: Node) -> str | None:
    return None if node.is_folder else f"<D:getcontentlength>{node.size}</D:getcontentlength>"


def _contenttype(_: Scene, node: Node) -> str | None:
    return None if node.is_folder else f"<D:getcontenttype>{xml.text(content_type(node))}</D:getcontenttype>"


def _etag(_: Scene, node: Node) -> str | None:
    # A folder's tag names the folder, not its members; clients that take it for the latter would miss changes.
    return None if node.is_folder else f"<D:getetag>{xml.text(node.etag)}</D:getetag>"


def _lastmodified(_: Scene, node: Node) -> str:
    return f"<D:getlastmodified>{http_date(node.modified)}</D:getlastmodified>"


def _creationdate(_: Scene, node: Node) -> str:
    return f"<D:creationdate>{iso_date(node.created)}</D:creationdate>"


def _displayname(_: Scene, node: Node) -> str:
    return f"<D:displayname>{xml.text(node.name)}</D:displayname>"


def _lockdiscovery(scene: Scene, node: Node) -> str | None:
    return None if scene.locks is None else lock_discovery(scene.locks.on(node.path), scene.lock_root)


def _supportedlock(scene: Scene, _: Node) -> str | None:
    return None if scene.locks is None else SUPPORTED_LOCK


def _used_bytes(scene: Scene, node: Node) -> str | None:
    quota = scene.quota if node.is_folder else None
    return None if quota is None else f"<D:quota-used-bytes>{quota.used}</D:quota-used-bytes>"


def _available_bytes(scene: Scene, node: Node) -> str | None:
    quota = scene.quota if node.is_folder else None
    if quota is None or quota.available is None:
        return None
    return f"<D:quota-available-bytes>{quota.available}</D:quota-available-bytes>"


def _win32_modified(_: Scene, node: Node) -> str:
    return _microsoft("Win32LastModifiedTime", http_date(node.modified))


def _win32_created(_: Scene, node: Node) -> str:
    return _microsoft("Win32CreationTime", http_date(node.created))


def _microsoft(name: str, value: str) -> str:
    return f'<Z:{name} xmlns:Z="urn:schemas-microsoft-com:">{value}</Z:{name}>'


ALLPROP: dict[str, Live] = {
    "{DAV:}resourcetype": _resourcetype,
    "{DAV:}displayname": _displayname,
    "{DAV:}creationdate": _creationdate,
    "{DAV:}getlastmodified": _lastmodified,
    "{DAV:}getcontentlength": _contentlength,
    "{DAV:}getcontenttype": _contenttype,
    "{DAV:}getetag": _etag,
    "{DAV:}supportedlock": _supportedlock,
    "{DAV:}lockdiscovery": _lockdiscovery,
}
"""What allprop returns (RFC 4918, 9.1; RFC 4331, 3 keeps the quota out)."""

LOCK_PROPERTIES = ("{DAV:}supportedlock", "{DAV:}lockdiscovery")

QUOTA_PROPERTIES = ("{DAV:}quota-used-bytes", "{DAV:}quota-available-bytes")

LIVE: dict[str, Live] = {
    **ALLPROP,
    "{DAV:}quota-used-bytes": _used_bytes,
    "{DAV:}quota-available-bytes": _available_bytes,
    WIN32_MODIFIED: _win32_modified,
    WIN32_CREATED: _win32_created,
}
"""All live properties by Clark name."""


def propname_elements(scene: Scene, node: Node, dead: Iterable[str]) -> str:
    """The names of all properties of a node, as empty elements."""
    names = [name for name, live in LIVE.items() if live(scene, node) is not None]
    return "".join(xml.empty_element(name) for name in dict.fromkeys([*names, *dead]))
