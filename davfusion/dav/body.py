"""Reading request bodies so that a body that ends early is noticed on any WSGI server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from davfusion.dav.errors import HttpError
from davfusion.dav.request import Environ

_DIGITS = re.compile(r"[0-9]{1,25}", re.ASCII)
_PIECE = 1 << 20
_SMALL_PIECE = 1 << 16


class BrokenBodyError(HttpError):
    """The body ended early, was malformed or could not be read. The connection is of no more use."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message, close=True)


def announced_length(environ: Environ) -> int | None:
    """Bytes that the body will have; None when it is sent in chunks. Raises HttpError 400."""
    if is_chunked(environ):
        return None
    text = environ.get("CONTENT_LENGTH") or "0"
    if _DIGITS.fullmatch(text) is None:
        raise HttpError(400, "Content-Length is not a number", close=True)
    return int(text)


def is_chunked(environ: Environ) -> bool:
    """Whether the body's end is marked in the body itself."""
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    return coding is not None and "chunked" in coding.lower()


def has_body(environ: Environ) -> bool:
    """Whether the request has a body of at least one byte; may read that byte of a chunked one."""
    length = announced_length(environ)
    return bool(_read(environ["wsgi.input"], 1)) if length is None else length > 0


def is_at_hand(environ: Environ) -> bool:
    """Whether the server knows that the whole body has come, so that nobody waits for it."""
    return bool(getattr(environ["wsgi.input"], "at_hand", False))


def read_at_hand(environ: Environ, length: int) -> bytes:
    """A body of `length` bytes of which is known that it has come. Raises BrokenBodyError."""
    body = _read(environ["wsgi.input"], length)
    _check_length(len(body), length)
    return body


def read_all(environ: Environ, limit: int) -> bytes:
    """The whole body. Raises HttpError 413 when it is longer than `limit` bytes, BrokenBodyError."""
    length = announced_length(environ)
    if length is not None and length > limit:
        raise HttpError(413, f"The body must not be larger than {limit} bytes", close=True)
    stream, pieces, size = environ["wsgi.input"], [], 0
    while length is None or size < length:
        piece = _read(stream, _SMALL_PIECE if length is None else length - size)
        if not piece:
            break
        size += len(piece)
        if size > limit:
            raise HttpError(413, f"The body must not be larger than {limit} bytes", close=True)
        pieces.append(piece)
    _check_length(size, length)
    return b"".join(pieces)


def stream_into(environ: Environ, length: int | None, write: Callable[[memoryview], object]) -> int:
    """Pass the whole body to `write`, in pieces of at most 1 MiB that are valid during the call only.

    `length` is the announced one. Returns the number of bytes. Raises BrokenBodyError, and whatever `write` raises.
    """
    stream, size = environ["wsgi.input"], 0
    readinto = getattr(stream, "readinto", None)
    buffer = memoryview(bytearray(_PIECE if length is None else min(length, _PIECE))) if readinto else None
    while length is None or size < length:
        wanted = _PIECE if length is None else min(_PIECE, length - size)
        if buffer is not None:
            piece = buffer[:_call(readinto, buffer[:wanted])]
        else:
            piece = memoryview(_read(stream, min(wanted, _PIECE)))
        if not piece:
            break
        size += len(piece)
        write(piece)
    _check_length(size, length)
    return size


def _read(stream: Any, wanted: int) -> bytes:
    piece: bytes = _call(stream.read, wanted)
    return piece


def _call(function: Any, argument: Any) -> Any:
    # What a server raises for a cut or malformed body differs from server to server; cheroot's own chunked reader
    # even raises bare Exception subclasses. Whatever it is, the body cannot be trusted.
    try:
        return function(argument)
    except Exception as error:
        raise BrokenBodyError(f"The body could not be read: {error}") from error


def _check_length(size: int, length: int | None) -> None:
    if length is not None and size != length:
        raise BrokenBodyError(f"The body ended after {size} of {length} bytes")
