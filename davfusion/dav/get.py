"""GET and HEAD (RFC 9110, 9.3): files whole or in parts, folders as a page."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from davfusion.cache.errors import NoSuchNodeError
from davfusion.cache.node import Node
from davfusion.cache.reader import Reader
from davfusion.dav.dates import http_date
from davfusion.dav.errors import HttpError
from davfusion.dav.folder_page import folder_page
from davfusion.dav.media_types import content_type
from davfusion.dav.options import allow
from davfusion.dav.preconditions import Preconditions
from davfusion.dav.ranges import ByteRange, UnsatisfiableRangeError, if_range_holds, requested_ranges
from davfusion.dav.request import Request, Response, document, empty

_PIECE = 256 << 10
_ATTEMPTS = 5
"""Times that a file is opened anew because it was replaced meanwhile."""
_ACTIVE_TYPES = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")
_SANDBOX = ("Content-Security-Policy", "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'")


def get(request: Request) -> Response:
    """The content of a file, or the page of a folder."""
    preconditions = Preconditions(request)
    node: Node | None = request.existing()
    for _ in range(_ATTEMPTS):
        if node is None:
            break
        if node.is_folder and not request.ends_in_slash:
            return empty(301, [("Location", request.href(node))])
        preconditions.check(request.share)
        try:
            return _folder(request, node) if node.is_folder else _file(request, node)
        except NoSuchNodeError:
            # Replaced since it was looked up: what is there now is the answer.
            node = request.share.find(request.path)
    raise HttpError(404, "Nothing is here") if node is None else HttpError(
        503, "The file keeps changing", headers=[("Retry-After", "1")])


def _folder(request: Request, node: Node) -> Response:
    page = folder_page(request, node, request.share.children(node)).encode("utf-8", "replace")
    return document(200, page, "text/html; charset=utf-8", [
        allow(request), ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")])


def _file(request: Request, node: Node) -> Response:
    if request.method == "HEAD":
        length = ("Content-Length", str(node.size))
        return Response(200, [*_headers(node), ("Content-Type", content_type(node)), length])
    ranges = _ranges(request, node)
    reader = request.share.open(node)
    try:
        return _content(request, node, reader, ranges)
    except BaseException:
        reader.close()
        raise


def _headers(node: Node) -> list[tuple[str, str]]:
    headers = [("ETag", node.etag), ("Last-Modified", http_date(node.modified)), ("Accept-Ranges", "bytes")]
    active = content_type(node).partition(";")[0].strip().lower() in _ACTIVE_TYPES
    return [*headers, _SANDBOX] if active else headers


def _ranges(request: Request, node: Node) -> list[ByteRange]:
    if not if_range_holds(request.header("IF_RANGE"), node.etag, node.modified):
        return []
    try:
        return requested_ranges(request.header("RANGE"), node.size)
    except UnsatisfiableRangeError:
        raise HttpError(416, "The file has no such part",
                        headers=[("Content-Range", f"bytes */{node.size}")]) from None


def _content(request: Request, node: Node, reader: Reader, ranges: list[ByteRange]) -> Response:
    if len(ranges) > 1:
        return _multipart(node, reader, ranges)
    part = ranges[0] if ranges else ByteRange(0, node.size)
    headers = [*_headers(node), ("Content-Type", content_type(node)), ("Content-Length", str(part.length))]
    if ranges:
        headers.append(("Content-Range", part.content_range(node.size)))
    file_wrapper = request.environ.get("wsgi.file_wrapper")
    if file_wrapper is not None and reader.whole_file is not None and part.length:
        reader.whole_file.seek(part.start)
        body: Iterable[bytes] = file_wrapper(WholeFile(reader), _PIECE)
    else:
        body = _started(reader, _pieces(reader, part))
    return Response(206 if ranges else 200, headers, body)


class WholeFile:
    """A file for `wsgi.file_wrapper`, from its position on; the response's Content-Length says where it ends.

    Closing it closes the reader, so that the content stays in place until it was sent.
    """

    def __init__(self, reader: Reader) -> None:
        file = reader.whole_file
        if file is None:
            raise ValueError("Not all of the content is in one file")
        self._reader = reader
        self.read = file.read
        self.fileno = file.fileno
        self.tell = file.tell
        self.seek = file.seek

    def close(self) -> None:
        """Release the content."""
        self._reader.close()


class _Closing:
    """A body that closes its reader when the server is done with it, even if it was never begun."""

    def __init__(self, reader: Reader, pieces: Iterator[bytes]) -> None:
        self._reader = reader
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._reader.close()


def _started(reader: Reader, pieces: Iterator[bytes]) -> _Closing:
    """The body with its first piece read, so that a store that cannot be asked still gets its true status."""
    first = next(pieces, b"")

    def all_pieces() -> Iterator[bytes]:
        yield first
        yield from pieces

    return _Closing(reader, all_pieces())


def _pieces(reader: Reader, part: ByteRange) -> Iterator[bytes]:
    reader.seek(part.start)
    left = part.length
    while left:
        piece = reader.read(min(left, _PIECE))
        if not piece:
            raise EOFError(f"The content ended {left} bytes early")
        left -= len(piece)
        yield piece


def _multipart(node: Node, reader: Reader, ranges: list[ByteRange]) -> Response:
    """Several ranges in one answer (RFC 9110, 14.6)."""
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {content_type(node)}\r\n"
        f"Content-Range: {part.content_range(node.size)}\r\n\r\n".encode("latin-1") for part in ranges]
    tail = f"\r\n--{boundary}--\r\n".encode()

    def parts() -> Iterator[bytes]:
        for head, part in zip(heads, ranges, strict=True):
            yield head
            yield from _pieces(reader, part)
        yield tail

    length = sum(map(len, heads)) + sum(part.length for part in ranges) + len(tail)
    headers = [*_headers(node), ("Content-Type", f"multipart/byteranges; boundary={boundary}"),
               ("Content-Length", str(length))]
    stream = parts()
    # The first piece is only a head; the second touches the content.
    started: list[bytes] = [next(stream), next(stream)]

    def all_parts() -> Iterator[Any]:
        yield from started
        yield from stream

    return Response(206, headers, _Closing(reader, all_parts()))
