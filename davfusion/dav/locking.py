"""LOCK and UNLOCK (RFC 4918, 9.10 and 9.11)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree

from davfusion.cache.errors import LockConflictError, NoSuchNodeError
from davfusion.cache.node import Lock
from davfusion.dav import xml
from davfusion.dav.body import read_all
from davfusion.dav.errors import HttpError
from davfusion.dav.href import parent
from davfusion.dav.lock_xml import lock_discovery
from davfusion.dav.preconditions import Preconditions, View, lock_root, locked, placing
from davfusion.dav.propfind import multistatus
from davfusion.dav.request import DavSettings, Request, Response, empty, xml_document

_SECONDS = re.compile(r"second-([0-9]{1,10})", re.IGNORECASE | re.ASCII)
_MISMATCH = "<D:lock-token-matches-request-uri/>"


@dataclass(frozen=True, slots=True)
class LockInfo:
    """What a LOCK body asks for; `owner` is the DAV:owner element as XML, or empty."""

    exclusive: bool
    owner: bytes


def lock(request: Request) -> Response:
    """200, or 201 where the lock made an empty file (RFC 4918, 7.3); an empty body refreshes a lock."""
    body = read_all(request.environ, xml.MAX_BODY)
    if not body.strip():
        return _refresh(request)
    infinite = request.depth(default="infinity", allowed=("0", "infinity")) == "infinity"
    info = lock_info(body)
    preconditions = Preconditions(request)
    if request.node is None:
        _check_new_file(request)

    def guard(view: View) -> None:
        preconditions.check_conditions(view)
        if view.find(request.path) is None:
            # The lock itself is refused by the share when another covers the path.
            preconditions.check_locks(view, placing(request.path))

    try:
        made, created = request.share.lock(
            request.path, exclusive=info.exclusive, infinite=infinite, owner=info.owner,
            principal=request.principal.name, timeout=granted_timeout(request.header("TIMEOUT"), request.settings),
            guard=guard)
    except LockConflictError as error:
        return _conflict(request, error.locks)
    headers = [("Lock-Token", f"<{made.token}>")]
    return xml_document(200 if created is None else 201, _discovery(request), headers)


def unlock(request: Request) -> Response:
    """204; 409 for a token that does not lock this resource."""
    header = request.header("LOCK_TOKEN")
    if not header:
        raise HttpError(400, "The Lock-Token header is missing")
    request.existing()
    Preconditions(request).check(request.share)
    token = header.strip().removeprefix("<").removesuffix(">").strip()
    found = next((each for each in request.share.locks_on(request.path) if each.token == token), None)
    if found is None:
        raise HttpError(409, "The token does not lock this resource", condition=_MISMATCH)
    if found.principal != request.principal.name:
        raise HttpError(403, "The lock belongs to someone else")
    request.share.unlock(token)
    return empty(204)


def lock_info(body: bytes) -> LockInfo:
    """Parse a DAV:lockinfo. Raises HttpError 400."""
    root = xml.parse(body)
    if root.tag != "{DAV:}lockinfo":
        raise HttpError(400, "The body is not a DAV:lockinfo")
    scopes = [str(each.tag) for each in root.iterfind("{DAV:}lockscope/*")]
    types = [str(each.tag) for each in root.iterfind("{DAV:}locktype/*")]
    if types != ["{DAV:}write"] or scopes not in (["{DAV:}exclusive"], ["{DAV:}shared"]):
        raise HttpError(400, "A lock is a write lock, exclusive or shared")
    owner = root.find("{DAV:}owner")
    return LockInfo(
        scopes == ["{DAV:}exclusive"],
        b"" if owner is None else etree.tostring(owner, encoding="utf-8", xml_declaration=False, with_tail=False))


def granted_timeout(header: str | None, settings: DavSettings) -> float:
    """Seconds to grant for a Timeout header (RFC 4918, 10.7): the first choice that is understood, within the cap."""
    for choice in (header or "").split(","):
        if choice.strip().lower() == "infinite":
            return settings.lock_timeout_max
        match = _SECONDS.fullmatch(choice.strip())
        if match is not None:
            return min(max(1.0, float(match.group(1))), settings.lock_timeout_max)
    return settings.lock_timeout


def _refresh(request: Request) -> Response:
    preconditions = Preconditions(request)
    if len(preconditions.tokens) != 1:
        raise HttpError(400, "To refresh a lock, send its token, and no other, in an If header")
    request.existing()
    preconditions.check(request.share)
    token = next(iter(preconditions.tokens))
    found = next((each for each in request.share.locks_on(request.path) if each.token == token), None)
    if found is None or found.principal != request.principal.name:
        raise HttpError(412, "The token does not lock this resource", condition=_MISMATCH)
    try:
        request.share.refresh_lock(token, granted_timeout(request.header("TIMEOUT"), request.settings))
    except NoSuchNodeError:
        raise HttpError(412, "The lock has expired", condition=_MISMATCH) from None
    return xml_document(200, _discovery(request))


def _check_new_file(request: Request) -> None:
    folder = request.share.find(parent(request.path))
    if folder is None or not folder.is_folder:
        raise HttpError(409, "The folder of this path does not exist")
    if request.location.ends_in_slash:
        raise HttpError(409, "A file's URL does not end in /")


def _discovery(request: Request) -> bytes:
    locks = request.share.locks_on(request.path)
    found = lock_discovery(locks, lambda path: lock_root(request, request.share, path))
    return f'<?xml version="1.0" encoding="utf-8"?>\n<D:prop xmlns:D="DAV:">{found}</D:prop>'.encode()


def _conflict(request: Request, locks: list[Lock]) -> Response:
    """423; where only members stand in the way of a lock of infinite depth, the 207 that RFC 4918, 9.10.3 demands."""
    inside = [each for each in locks if each.path.startswith(request.path.rstrip("/") + "/")]
    if not inside or len(inside) != len(locks):
        raise locked(request, request.share, locks, "no-conflicting-lock", "Another lock is in the way")
    statuses = {lock_root(request, request.share, each.path): "423 Locked" for each in inside}
    statuses[request.xml_href(request.path, is_folder=True)] = "424 Failed Dependency"
    return multistatus([f"<D:response><D:href>{href}</D:href><D:status>HTTP/1.1 {status}</D:status></D:response>"
                        for href, status in statuses.items()], [])
