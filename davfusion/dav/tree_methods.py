"""MKCOL, DELETE, COPY and MOVE (RFC 4918, 9.3, 9.6, 9.8, 9.9): each is one step of the share."""

from __future__ import annotations

from davfusion.cache.errors import NodeExistsError
from davfusion.dav.announcement import asked_modified
from davfusion.dav.body import has_body
from davfusion.dav.errors import HttpError
from davfusion.dav.href import parent
from davfusion.dav.options import allow
from davfusion.dav.preconditions import Preconditions, View, placing, removing, replacing
from davfusion.dav.request import Request, Response, empty
from davfusion.store.interface import join


def mkcol(request: Request) -> Response:
    """201; 405 where something is, 409 without a parent folder, 415 with a body (RFC 4918, 9.3)."""
    if request.node is not None:
        raise HttpError(405, "Something is here already", headers=[allow(request)])
    preconditions = Preconditions(request)
    preconditions.check(request.share, placing(request.path))
    modified = asked_modified(request)
    if has_body(request.environ):
        raise HttpError(415, "MKCOL takes no body")
    try:
        request.share.make_folder(
            request.path, modified=modified,
            guard=lambda view: preconditions.check(view, placing(request.path)))
    except NodeExistsError:
        raise HttpError(405, "Something is here already", headers=[allow(request)]) from None
    return empty(201, [("X-OC-MTime", "accepted")] if modified is not None else [])


def delete(request: Request) -> Response:
    """204. A lock inside a folder whose token was not submitted stops the whole."""
    node = request.existing()
    if node.path == "/":
        raise HttpError(403, "The root of a share cannot be deleted")
    request.depth(default="infinity", allowed=("infinity",) if node.is_folder else ("0", "infinity"))
    preconditions = Preconditions(request)
    need = removing(request.path)
    preconditions.check(request.share, need)
    request.share.delete(request.path, guard=lambda view: preconditions.check(view, need))
    return empty(204)


def copy(request: Request) -> Response:
    """201 or 204. Depth 0 on a folder copies it without its members."""
    node = request.existing()
    infinite = request.depth(default="infinity", allowed=("0", "infinity")) == "infinity"
    destination, overwrite = _destination(request), _overwrite(request)
    if destination == request.path:
        raise HttpError(403, "Source and destination are the same")
    preconditions = Preconditions(request)

    def guard(view: View) -> None:
        preconditions.check_conditions(view)
        _check_overwrite(view, destination, overwrite)
        preconditions.check_locks(view, replacing(destination))

    guard(request.share)
    try:
        created = request.share.copy(
            node.path, destination, overwrite=overwrite, infinite=infinite, guard=guard)
    except NodeExistsError:
        raise _not_overwritten() from None
    return empty(201 if created else 204)


def move(request: Request) -> Response:
    """201 or 204."""
    node = request.existing()
    if node.path == "/":
        raise HttpError(403, "The root of a share cannot be moved")
    request.depth(default="infinity", allowed=("infinity",) if node.is_folder else ("0", "infinity"))
    destination, overwrite = _destination(request), _overwrite(request)
    if destination == request.path:
        raise HttpError(403, "Source and destination are the same")
    preconditions = Preconditions(request)

    def guard(view: View) -> None:
        preconditions.check_conditions(view)
        _check_overwrite(view, destination, overwrite)
        preconditions.check_locks(view, removing(node.path))
        preconditions.check_locks(view, replacing(destination))

    guard(request.share)
    try:
        created = request.share.move(node.path, destination, overwrite=overwrite, guard=guard)
    except NodeExistsError:
        raise _not_overwritten() from None
    return empty(201 if created else 204)


def _destination(request: Request) -> str:
    """The local path of the destination, as the share spells it."""
    raw = request.header("DESTINATION")
    if not raw:
        raise HttpError(400, "The Destination header is missing")
    location = request.locate(raw)
    if location is not None and not request.principal.may(location.share.name, write=True):
        raise HttpError(403, "You may not write to the destination")
    if location is None or location.share is not request.share:
        raise HttpError(502, "Source and destination must be in the same share")
    if location.path == "/":
        raise HttpError(403, "The root of a share cannot be replaced")
    spelled = request.spelled(location)[0]
    # To rename between composed and decomposed spelling is a change, though both find the same file.
    if spelled == request.path:
        return join(parent(spelled), location.path.rpartition("/")[2])
    return spelled


def _overwrite(request: Request) -> bool:
    value = (request.header("OVERWRITE") or "T").strip().upper()
    if value not in ("T", "F"):
        raise HttpError(400, "Overwrite must be T or F")
    return value == "T"


def _check_overwrite(view: View, destination: str, overwrite: bool) -> None:
    if not overwrite and view.find(destination) is not None:
        raise _not_overwritten()


def _not_overwritten() -> HttpError:
    return HttpError(412, "The destination exists and Overwrite is F")
