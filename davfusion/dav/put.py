"""PUT (RFC 9110, 9.3.4; RFC 4918, 9.7): a whole new content or nothing.

Everything that can refuse the request is asked before its body is waited for; locks and conditions are asked again in
the transaction that publishes the content. A body that is wholly here goes to that transaction at once, and what is at
the path is looked up before only where the transaction cannot tell.
"""

from __future__ import annotations

import logging

from davfusion.cache.errors import UnsettledError
from davfusion.cache.incoming import Incoming
from davfusion.cache.node import Node
from davfusion.dav.announcement import Announcement
from davfusion.dav.body import BrokenBodyError, is_at_hand, stream_into
from davfusion.dav.dates import http_date
from davfusion.dav.errors import HttpError
from davfusion.dav.href import parent
from davfusion.dav.options import allow
from davfusion.dav.preconditions import Preconditions, placing
from davfusion.dav.request import Environ, Pending, Request, Response, empty
from davfusion.store.errors import StoreError

log = logging.getLogger(__name__)


def put(request: Request) -> Pending:
    """201 or 204 with the new entity tag, once the content is durable: that is waited for by what is returned."""
    share = request.share
    announced = Announcement.of(request)
    preconditions = Preconditions(request)
    unseen = _may_go_unseen(request, preconditions)
    if not unseen:
        _check_place(request, preconditions)
    path = request.location.path if unseen else request.path
    _check_space(request, announced.needed)
    incoming = share.receive(announced.expected)
    try:
        _receive(request.environ, incoming, announced)
        begin = share.begin_put_unseen if unseen else share.begin_put
        committed = begin(path, incoming, guard=preconditions.guard(placing(path)), modified=announced.modified,
                          media_type=announced.media_type)
    except BaseException:
        incoming.discard()
        raise

    def finish() -> Response:
        with incoming:
            try:
                node, created = committed()
            except UnsettledError:
                _check_place(request, preconditions)
                node, created = share.put(
                    request.path, incoming, guard=preconditions.guard(placing(request.path)),
                    modified=announced.modified, media_type=announced.media_type)
        return empty(201 if created else 204, _validators(node, modified_accepted=announced.modified is not None))
    return Pending(finish)


def _may_go_unseen(request: Request, preconditions: Preconditions) -> bool:
    """Whether the transaction may decide alone: nobody waits for the body, nothing is asked that the store would know,
    and the name has one spelling only."""
    return (is_at_hand(request.environ) and not preconditions.conditional and request.location.path.isascii()
            and not request.location.ends_in_slash)


def _receive(environ: Environ, incoming: Incoming, announced: Announcement) -> None:
    """Take in the whole body. Raises BrokenBodyError; HttpError 400 where it is not what the client meant to send."""
    checksum = announced.checksum

    def write(piece: memoryview) -> None:
        incoming.write(piece)
        if checksum is not None:
            checksum.update(piece)

    size = stream_into(environ, announced.length, write if checksum is not None else incoming.write)
    if announced.expected is not None and size != announced.expected:
        raise BrokenBodyError(f"The body has {size} bytes where {announced.expected} were announced")
    if checksum is not None:
        checksum.verify()


def _check_place(request: Request, preconditions: Preconditions) -> None:
    """Look up what is there, and refuse what can be refused."""
    request.look_up()
    if request.node is not None and request.node.is_folder:
        raise HttpError(405, "A folder is here", headers=[allow(request)])
    if request.location.ends_in_slash:
        raise HttpError(409, "A file's URL does not end in /")
    if request.node is None:
        above = parent(request.path)
        folder = request.share.find_known(above) or request.share.find_place(above)
        if folder is None or not folder.is_folder:
            raise HttpError(409, "The folder of this path does not exist")
    preconditions.check(request.share, placing(request.path))


def _check_space(request: Request, needed: int) -> None:
    if not needed:
        return
    try:
        available = request.share.room_for(needed)
    except StoreError as error:
        # Whether the store has room is unknown while it is away; writes go on and wait for it here.
        log.warning("quota unknown", extra={"share": request.share.name, "error": str(error)})
        return
    if available is not None and needed > available:
        raise HttpError(507, f"{needed} bytes do not fit: {available} are free")


def _validators(node: Node, *, modified_accepted: bool) -> list[tuple[str, str]]:
    headers = [("ETag", node.etag), ("OC-ETag", node.etag), ("Last-Modified", http_date(node.modified))]
    if modified_accepted:
        headers.append(("X-OC-MTime", "accepted"))
    return headers
