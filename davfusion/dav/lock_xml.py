"""Locks as XML: DAV:lockdiscovery and DAV:supportedlock (RFC 4918, 15.8 and 15.10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from davfusion.cache.node import Lock
from davfusion.cache.share import Share
from davfusion.dav import xml

SUPPORTED_LOCK = (
    "<D:supportedlock>"
    "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    "<D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"
    "</D:supportedlock>"
)

Href = Callable[[str], str]
"""Tells the URL of a lock's root, escaped for XML."""


def lock_discovery(locks: Iterable[Lock], href: Href) -> str:
    """The DAV:lockdiscovery element for the locks that cover a resource."""
    content = "".join(_active_lock(lock, href) for lock in locks)
    return f"<D:lockdiscovery>{content}</D:lockdiscovery>" if content else "<D:lockdiscovery/>"


def _active_lock(lock: Lock, href: Href) -> str:
    scope = "exclusive" if lock.exclusive else "shared"
    left = max(0, round(lock.expires - time.time()))
    return (
        f"<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope>"
        f"<D:depth>{'infinity' if lock.infinite else '0'}</D:depth>{lock.owner.decode()}"
        f"<D:timeout>Second-{left}</D:timeout>"
        f"<D:locktoken><D:href>{xml.text(lock.token)}</D:href></D:locktoken>"
        f"<D:lockroot><D:href>{href(lock.path)}</D:href></D:lockroot></D:activelock>"
    )


class LocksOfTree:
    """The locks of a folder and all below it, asked from the share once, told per path."""

    def __init__(self, share: Share, root: str) -> None:
        self.any = share.has_locks()
        """Whether anything at all is locked in the share."""
        covering = share.locks_on(root) if self.any else []
        self._root = root
        self._at_root = covering
        self._inherited = [lock for lock in covering if lock.infinite]
        self._below: dict[str, list[Lock]] = {}
        for lock in share.locks_under(root) if self.any else []:
            self._below.setdefault(lock.path, []).append(lock)

    def on(self, path: str) -> list[Lock]:
        """The locks that cover the path, inherited ones first."""
        if path == self._root:
            return self._at_root
        if not self._below:
            return self._inherited
        locks = list(self._inherited)
        folder = path
        above: list[Lock] = []
        while folder not in (self._root, "/", ""):
            above += [lock for lock in self._below.get(folder, []) if folder == path or lock.infinite]
            folder = folder.rpartition("/")[0]
        return locks + above
