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
from davfusion.dav.body import BrokenBodyError, is_at_hand, read_at_hand, stream_into
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
    if announced.length is not None and _may_go_unseen(request, announced.length, preconditions):
        return _put_unseen(request, announced, announced.length, preconditions)
    _check_place(request, preconditions)
    _check_space(request, announced.needed)
    incoming = share.receive(announced.expected)
    try:
        _receive(request.environ, incoming, announced)
        committed = share.begin_put(
            request.path, incoming, guard=preconditions.guard(placing(request.path)), modified=announced.modified,
            media_type=announced.media_type)
    except BaseException:
        incoming.discard()
        raise

    def finish() -> Response:
        with incoming:
            return _answer(announced, *committed())
    return Pending(finish)


def _may_go_unseen(request: Request, length: int, preconditions: Preconditions) -> bool:
    """Whether the transaction may decide alone: the body is small, nobody waits for it, nothing is asked that the
    store would know, and the name has one spelling only."""
    location = request.location
    return (is_at_hand(request.environ) and not preconditions.conditional and location.path.isascii()
            and not location.ends_in_slash and request.share.takes_small(length))


def _put_unseen(request: Request, announced: Announcement, length: int, preconditions: Preconditions) -> Pending:
    """Put a small body without looking up before what is there; only if that is not known, it is done afterwards."""
    share, path = request.share, request.location.path
    _check_space(request, announced.needed)
    body = read_at_hand(request.environ, length)
    if announced.checksum is not None:
        announced.checksum.update(body)
        announced.checksum.verify()
    committed = share.begin_put_small(path, body, guard=preconditions.guard(placing(path)),
                                      modified=announced.modified, media_type=announced.media_type)

    def finish() -> Response:
        try:
            return _answer(announced, *committed())
        except UnsettledError:
            _check_place(request, preconditions)
        with share.receive(len(body)) as incoming:
            incoming.write(body)
            return _answer(announced, *share.put(
                request.path, incoming, guard=preconditions.guard(placing(request.path)),
                modified=announced.modified, media_type=announced.media_type))
    return Pending(finish)


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


def _answer(announced: Announcement, node: Node, created: bool) -> Response:
    headers = [("ETag", node.etag), ("OC-ETag", node.etag), ("Last-Modified", http_date(node.modified))]
    if announced.modified is not None:
        headers.append(("X-OC-MTime", "accepted"))
    return empty(201 if created else 204, headers)
