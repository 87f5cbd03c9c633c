"""PUT (RFC 9110, 9.3.4; RFC 4918, 9.7): a whole new content or nothing.

Everything that can refuse the request is asked before its body is waited for; locks and conditions are asked again in
the transaction that publishes the content. A body that is wholly here goes to that transaction at once, and what is at
the path is looked up before only where the transaction cannot tell.
"""

from __future__ import annotations

import logging
import math
import re

from davfusion.cache.errors import UnsettledError
from davfusion.cache.incoming import Incoming
from davfusion.cache.node import Node
from davfusion.dav.body import BrokenBodyError, announced_length, is_at_hand, stream_into
from davfusion.dav.checksum import BodyChecksum
from davfusion.dav.dates import LATEST, http_date
from davfusion.dav.errors import HttpError
from davfusion.dav.href import parent
from davfusion.dav.options import allow
from davfusion.dav.preconditions import Preconditions, placing
from davfusion.dav.request import Environ, Pending, Request, Response, empty
from davfusion.store.errors import StoreError

log = logging.getLogger(__name__)

_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:[ \t]*;[ \t\x21-\x7e]*)?", re.ASCII)
_GENERIC_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "binary/octet-stream")
_NUMBER = re.compile(r"[0-9]{1,25}", re.ASCII)


def put(request: Request) -> Pending:
    """201 or 204 with the new entity tag, once the content is durable: that is waited for by what is returned."""
    share = request.share
    _check_headers(request)
    preconditions = Preconditions(request)
    unseen = _may_go_unseen(request, preconditions)
    if not unseen:
        _check_place(request, preconditions)
    path = request.location.path if unseen else request.path
    modified = asked_modified(request)
    length = announced_length(request.environ)
    expected = _expected_length(request, length)
    _check_space(request, expected)
    incoming = share.receive(expected)
    try:
        _receive(request.environ, incoming, length=length, expected=expected)
        begin = share.begin_put_unseen if unseen else share.begin_put
        committed = begin(path, incoming, guard=preconditions.guard(placing(path)), modified=modified,
                          media_type=_media_type(request))
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
                    request.path, incoming, guard=preconditions.guard(placing(request.path)), modified=modified,
                    media_type=_media_type(request))
        return empty(201 if created else 204, _validators(node, modified_accepted=modified is not None))
    return Pending(finish)


def _may_go_unseen(request: Request, preconditions: Preconditions) -> bool:
    """Whether the transaction may decide alone: nobody waits for the body, nothing is asked that the store would know,
    and the name has one spelling only."""
    return (is_at_hand(request.environ) and not preconditions.conditional and request.location.path.isascii()
            and not request.location.ends_in_slash)


def _receive(environ: Environ, incoming: Incoming, *, length: int | None, expected: int | None) -> None:
    """Take in the whole body. Raises BrokenBodyError; HttpError 400 where it is not what the client meant to send."""
    checksum = BodyChecksum.from_environ(environ)

    def write(piece: memoryview) -> None:
        incoming.write(piece)
        checksum.update(piece)

    size = stream_into(environ, length, write if checksum.expected else incoming.write)
    if expected is not None and size != expected:
        raise BrokenBodyError(f"The body has {size} bytes where {expected} were announced")
    checksum.verify()


def asked_modified(request: Request) -> float | None:
    """The time in X-OC-Mtime, in seconds since the epoch; None where absent. Raises HttpError 400."""
    text = request.header("X_OC_MTIME")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or not -LATEST <= seconds <= LATEST:
        raise HttpError(400, "X-OC-Mtime is not a time in seconds")
    return seconds


def _check_headers(request: Request) -> None:
    if request.header("CONTENT_RANGE") is not None:
        raise HttpError(400, "Content-Range is not accepted: a PUT replaces the whole file")
    if request.header("CONTENT_ENCODING") not in (None, "", "identity"):
        raise HttpError(415, "Content-Encoding is not accepted")


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


def _expected_length(request: Request, length: int | None) -> int | None:
    """Bytes that must arrive: Content-Length, or what Finder and ownCloud clients announce for a chunked body."""
    announced = request.header("X_EXPECTED_ENTITY_LENGTH")
    if announced is None:
        return length
    if _NUMBER.fullmatch(announced.strip()) is None:
        raise HttpError(400, "X-Expected-Entity-Length is not a number")
    if length is not None and length != int(announced):
        raise HttpError(400, "X-Expected-Entity-Length and Content-Length differ", close=True)
    return int(announced)


def _check_space(request: Request, expected: int | None) -> None:
    total = (request.header("OC_TOTAL_LENGTH") or "").strip()
    needed = max(expected or 0, int(total) if _NUMBER.fullmatch(total) else 0)
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


def _media_type(request: Request) -> str | None:
    declared = (request.environ.get("CONTENT_TYPE") or "").strip()
    if not declared or len(declared) > 200 or _MEDIA_TYPE.fullmatch(declared) is None:
        return None
    return None if declared.partition(";")[0].strip().lower() in _GENERIC_TYPES else declared


def _validators(node: Node, *, modified_accepted: bool) -> list[tuple[str, str]]:
    headers = [("ETag", node.etag), ("OC-ETag", node.etag), ("Last-Modified", http_date(node.modified))]
    if modified_accepted:
        headers.append(("X-OC-MTime", "accepted"))
    return headers
