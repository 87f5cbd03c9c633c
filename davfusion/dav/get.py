"""GET and HEAD (RFC 9110, 9.3): files whole or in parts, folders as a page."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from davfusion.cache.errors import NoSuchNodeError
from davfusion.cache.node import Node
from davfusion.cache.reader import Reader
from davfusion.dav.errors import HttpError
from davfusion.dav.folder_page import folder_page
from davfusion.dav.hot_files import SMALL, Headers, HotFile
from davfusion.dav.options import allow
from davfusion.dav.preconditions import Preconditions
from davfusion.dav.ranges import ByteRange, UnsatisfiableRangeError, if_range_holds, requested_ranges
from davfusion.dav.request import Request, Response, document, empty

_PIECE = 256 << 10
_ATTEMPTS = 5
"""Times that a file is opened anew because it was replaced meanwhile."""


def get(request: Request) -> Response:
    """The content of a file, or the page of a folder."""
    preconditions = Preconditions(request)
    node: Node | None = request.existing()
    for _ in range(_ATTEMPTS):
        if node is None:
            break
        if node.is_folder and not request.location.ends_in_slash:
            return empty(301, [("Location", request.href(node))])
        preconditions.check_conditions_of(node, request.share)
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
    file = request.files.about(node)
    if request.method == "HEAD":
        return Response(200, file.whole)
    ranges = _ranges(request, node)
    if node.size <= SMALL:
        return _from_memory(file, request.files.body(file), ranges)
    reader = request.share.open(node)
    try:
        return _content(request, file, reader, ranges)
    except BaseException:
        reader.close()
        raise


def _ranges(request: Request, node: Node) -> list[ByteRange]:
    asked = request.header("RANGE")
    if asked is None or not if_range_holds(request.header("IF_RANGE"), node.etag, node.modified):
        return []
    try:
        return requested_ranges(asked, node.size)
    except UnsatisfiableRangeError:
        raise HttpError(416, "The file has no such part",
                        headers=[("Content-Range", f"bytes */{node.size}")]) from None


def _from_memory(file: HotFile, body: bytes, ranges: list[ByteRange]) -> Response:
    if not ranges:
        return Response(200, file.whole, [body])
    if len(ranges) > 1:
        head, parts = _multipart(file, ranges, lambda part: [body[part.start:part.stop]])
        return Response(206, head, [b"".join(parts)])
    return Response(206, _part_headers(file, ranges[0]), [body[ranges[0].start:ranges[0].stop]])


def _content(request: Request, file: HotFile, reader: Reader, ranges: list[ByteRange]) -> Response:
    if len(ranges) > 1:
        headers, parts = _multipart(file, ranges, lambda part: _pieces(reader, part))
        # The first piece is only a head; the second touches the content.
        return Response(206, headers, _started(reader, parts, 2))
    part = ranges[0] if ranges else ByteRange(0, file.node.size)
    headers = _part_headers(file, part) if ranges else file.whole
    file_wrapper = request.environ.get("wsgi.file_wrapper")
    if file_wrapper is not None and reader.whole_file is not None:
        reader.whole_file.seek(part.start)
        body: Iterable[bytes] = file_wrapper(WholeFile(reader), _PIECE)
    else:
        body = _started(reader, _pieces(reader, part), 1)
    return Response(206 if ranges else 200, headers, body)


def _part_headers(file: HotFile, part: ByteRange) -> Headers:
    return [*file.about, ("Content-Type", file.media_type), ("Content-Length", str(part.length)),
            ("Content-Range", part.content_range(file.node.size))]


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


def _started(reader: Reader, pieces: Iterator[bytes], count: int) -> _Closing:
    """The body with its first pieces read, so that a store that cannot be asked still gets its true status."""
    first = list(islice(pieces, count))
    return _Closing(reader, chain(first, pieces))


def _pieces(reader: Reader, part: ByteRange) -> Iterator[bytes]:
    reader.seek(part.start)
    left = part.length
    while left:
        piece = reader.read(min(left, _PIECE))
        if not piece:
            raise EOFError(f"The content ended {left} bytes early")
        left -= len(piece)
        yield piece


def _multipart(file: HotFile, ranges: list[ByteRange], content: Callable[[ByteRange], Iterable[bytes]]
               ) -> tuple[Headers, Iterator[bytes]]:
    """The headers and the body of several ranges in one answer (RFC 9110, 14.6)."""
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {file.media_type}\r\n"
        f"Content-Range: {part.content_range(file.node.size)}\r\n\r\n".encode("latin-1") for part in ranges]
    tail = f"\r\n--{boundary}--\r\n".encode()

    def parts() -> Iterator[bytes]:
        for head, part in zip(heads, ranges, strict=True):
            yield head
            yield from content(part)
        yield tail

    length = sum(map(len, heads)) + sum(part.length for part in ranges) + len(tail)
    return [*file.about, ("Content-Type", f"multipart/byteranges; boundary={boundary}"),
            ("Content-Length", str(length))], parts()
