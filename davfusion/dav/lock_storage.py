"""The locks of shares as WsgiDAV's lock storage, for its own application.

WsgiDAV names resources by quoted URL paths below the application's root; the storage finds share and path by them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from lxml import etree
from wsgidav.dav_error import HTTP_LOCKED, DAVError, DAVErrorCondition, PRECONDITION_CODE_LockConflict

from davfusion.cache.errors import LockConflictError
from davfusion.cache.node import Lock
from davfusion.cache.share import Share
from davfusion.dav.mounts import Mounts, spelled_path
from davfusion.dav.request import DavSettings

LockDict = dict[str, Any]


class ShareLockStorage:
    """Thread- and process-safe, as the shares are."""

    def __init__(self, shares: Mapping[str, Share], settings: DavSettings | None = None) -> None:
        self._mounts = Mounts(shares)
        self._settings = settings or DavSettings()

    def open(self) -> None:
        """The shares are open already."""

    def close(self) -> None:
        """The shares are closed by whoever opened them."""

    def cleanup(self) -> None:
        """Expired locks are never told; the shares drop them."""

    def clear(self) -> None:
        """Remove all locks."""
        for share in self._mounts.shares.values():
            for lock in [*share.locks_on("/"), *share.locks_under("/")]:
                share.unlock(lock.token)

    def get(self, token: str) -> LockDict | None:
        """The lock with this token, or None where it is gone or expired."""
        found = self._find(token)
        return None if found is None else _as_dict(*found)

    def create(self, path: str, lock: LockDict) -> LockDict:
        """Make a lock; fills in root, timeout, expire and token. Raises DAVError 423."""
        place, share, local = self._locate(path)
        wanted = float(lock["timeout"]) if lock.get("timeout") is not None else self._settings.lock_timeout
        timeout = self._settings.lock_timeout_max if wanted < 0 else min(wanted, self._settings.lock_timeout_max)
        try:
            made, _ = share.lock(
                local, exclusive=lock["scope"] == "exclusive", infinite=lock["depth"] == "infinity",
                owner=_owner(lock.get("owner")), principal=lock["principal"], timeout=timeout)
        except LockConflictError as error:
            condition = DAVErrorCondition(PRECONDITION_CODE_LockConflict)
            for each in error.locks:
                condition.add_href(_root(place, each))
            raise DAVError(HTTP_LOCKED, err_condition=condition) from error
        lock.update(_as_dict(place, made))
        return lock

    def refresh(self, token: str, *, timeout: float) -> LockDict:
        """Prolong a lock by `timeout` seconds, -1 for the longest. Raises ValueError where it is gone."""
        found = self._find(token)
        if found is None:
            raise ValueError("The lock is gone")
        longest = self._settings.lock_timeout_max
        share = self._mounts.shares[found[0] or "/"]
        return _as_dict(found[0], share.refresh_lock(token, longest if timeout < 0 else min(timeout, longest)))

    def delete(self, token: str) -> bool:
        """Remove a lock; False where there was none."""
        found = self._find(token)
        if found is None:
            return False
        self._mounts.shares[found[0] or "/"].unlock(token)
        return True

    def get_lock_list(self, path: str, *, include_root: bool, include_children: bool,
                      token_only: bool) -> list[Any]:
        """The locks whose root is the path, or below it."""
        if path == "/" and "/" not in self._mounts.shares:
            return []
        place, share, local = self._locate(path)
        if not share.has_locks():
            return []
        locks = [each for each in share.locks_on(local) if each.path == local] if include_root else []
        if include_children:
            locks += share.locks_under(local)
        return [each.token if token_only else _as_dict(place, each) for each in locks]

    def _find(self, token: str) -> tuple[str, Lock] | None:
        for place, share in self._mounts.shares.items():
            lock = share.lock_by_token(token)
            if lock is not None:
                return place.rstrip("/"), lock
        return None

    def _locate(self, path: str) -> tuple[str, Share, str]:
        """The place of the share (empty for the root), the share, and the local path as it spells it."""
        location = self._mounts.locate(unquote(path))
        if location is None:
            raise ValueError(f"No share is at {path}")
        return location.prefix, location.share, spelled_path(location.share, location.path)[0]


def _owner(owner: bytes | str | None) -> bytes:
    """The element alone: WsgiDAV hands over a whole document."""
    if not owner:
        return b""
    element = etree.fromstring(owner.encode() if isinstance(owner, str) else owner)
    return etree.tostring(element, encoding="utf-8", xml_declaration=False, with_tail=False)


def _root(place: str, lock: Lock) -> str:
    return quote(place + lock.path).rstrip("/") or "/"


def _as_dict(place: str, lock: Lock) -> LockDict:
    return {
        "root": _root(place, lock), "type": "write", "scope": "exclusive" if lock.exclusive else "shared",
        "depth": "infinity" if lock.infinite else "0", "owner": lock.owner, "timeout": lock.timeout,
        "expire": max(lock.expires, time.time()), "principal": lock.principal, "token": lock.token,
    }
