"""Request bodies: `wsgi.input`.

A body ends where its framing says and nowhere else. A body that breaks off raises ClientDisconnected
at every further read, one with malformed framing BadBody; neither is ever an ordinary end.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterator

from davfusion.server.errors import BadBody, ClientDisconnected
from davfusion.server.stream import SocketStream
from davfusion.server.target import CONTROLS

_BLOCK = 64 * 1024
_MAX_CHUNK_LINE = 1024
_MAX_EXTENSIONS = 16 * 1024
_MAX_TRAILERS = 8 * 1024
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")


class Body(abc.ABC):
    """A request body as a file to read once. Used by one thread at a time.

    Reads raise ClientDisconnected and BadBody, and give no bytes only at the true end, where
    `complete` turns True. `on_first_read` is called before the first wait for the client: it
    invites the body (100 Continue).
    """

    def __init__(self, stream: SocketStream, *, on_first_read: Callable[[], None] | None = None) -> None:
        self.complete = False
        self.invitation = on_first_read
        self._stream = stream
        self._lookahead = bytearray()
        self._failure: ClientDisconnected | BadBody | None = None

    @abc.abstractmethod
    def _receive(self, view: memoryview) -> int:
        """At least one byte of the body into `view`; 0 at its end, then `complete` is True."""

    @property
    def at_hand(self) -> bool:
        """Whether all that is left is known to be here, so that reading it waits for nothing."""
        return self.complete

    @abc.abstractmethod
    def fits(self, limit: int) -> bool:
        """Whether what is left of the body may be as short as `limit` bytes."""

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put what has arrived into `buffer`, at least one byte; 0 at the end of the body.

        Large buffers make this the fastest way: bytes go from the socket straight into them.
        """
        view = memoryview(buffer)
        if not view:
            return 0
        if self._lookahead:
            size = min(len(self._lookahead), len(view))
            view[:size] = self._lookahead[:size]
            del self._lookahead[:size]
            return size
        return self._next(view)

    def read(self, size: int | None = None) -> bytes:
        """`size` bytes, fewer only at the end of the body; all that is left without a size."""
        wanted = -1 if size is None or size < 0 else size
        data = bytearray()
        block = bytearray(_BLOCK if wanted < 0 else min(wanted, _BLOCK))
        view = memoryview(block)
        while wanted < 0 or len(data) < wanted:
            got = self.readinto(view if wanted < 0 else view[: wanted - len(data)])
            if got == 0:
                break
            data += view[:got]
        return bytes(data)

    def readline(self, size: int | None = None) -> bytes:
        """One line with its line feed, cut off at `size` bytes or the end of the body."""
        limit = -1 if size is None or size < 0 else size
        start = 0
        while True:
            end = self._lookahead.find(b"\n", start) + 1
            start = len(self._lookahead)
            if not end and (limit < 0 or start < limit):
                block = bytearray(_BLOCK)
                got = self._next(memoryview(block))
                self._lookahead += block[:got]
                if got:
                    continue
            length = end or start
            if limit >= 0:
                length = min(length, limit)
            line = bytes(self._lookahead[:length])
            del self._lookahead[:length]
            return line

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Lines up to the end of the body, or until they hold `hint` bytes."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def drainable(self, limit: int) -> bool:
        """Whether `drain` may succeed. A body that was not invited is not waited for: it may never come."""
        return self.complete or (self.invitation is None and self._failure is None and self.fits(limit))

    def drain(self, limit: int) -> bool:
        """Throw away up to `limit` bytes of the rest; whether that was all of it. Raises nothing."""
        if not self.drainable(limit):
            return False
        view = memoryview(bytearray(_BLOCK))
        drained = 0
        try:
            while drained <= limit:
                got = self._next(view)
                if got == 0:
                    return True
                drained += got
        except (ClientDisconnected, BadBody):
            return False
        return False

    def withdraw(self) -> None:
        """The final response goes out: a body that was not invited so far will not come any more."""
        if self.invitation is not None and not self.complete:
            self.invitation = None
            self._failure = ClientDisconnected("The request was answered before its body was asked for.")

    def _next(self, view: memoryview) -> int:
        if self.complete:
            return 0
        if self._failure is not None:
            raise self._failure
        if self.invitation is not None:
            invite, self.invitation = self.invitation, None
            if not self._stream.has_data():
                invite()
        try:
            return self._receive(view)
        except (ClientDisconnected, BadBody) as failure:
            self._failure = failure
            raise
        except TimeoutError as stalled:
            self._failure = ClientDisconnected(f"The request body broke off: {stalled}.")
            raise self._failure from stalled
        except OSError as broken:
            self._failure = ClientDisconnected(f"The request body broke off: {broken}.")
            raise self._failure from broken


class KnownLengthBody(Body):
    """A body of `length` bytes (Content-Length), complete from the start where that is 0."""

    def __init__(self, stream: SocketStream, length: int, *, on_first_read: Callable[[], None] | None = None) -> None:
        super().__init__(stream, on_first_read=on_first_read)
        self._length = length
        self._remaining = length
        self.complete = length == 0

    @property
    def at_hand(self) -> bool:
        return self._remaining <= len(self._stream.buffer)

    def fits(self, limit: int) -> bool:
        return self._remaining <= limit

    def read(self, size: int | None = None) -> bytes:
        if size != self._remaining or not self.at_hand or self._failure is not None or self._lookahead:
            return super().read(size)
        buffer = self._stream.buffer
        data = bytes(buffer[:size])
        del buffer[:size]
        self._remaining, self.complete = 0, True
        return data

    def _receive(self, view: memoryview) -> int:
        got = self._stream.read_into(view[: self._remaining])
        if got == 0:
            received = self._length - self._remaining
            raise ClientDisconnected(f"The request body ended after {received} of {self._length} bytes.")
        self._remaining -= got
        self.complete = self._remaining == 0
        return got


class ChunkedBody(Body):
    """A body in chunks (RFC 9112 section 7.1); its extensions and trailers are read and ignored."""

    def __init__(self, stream: SocketStream, *, on_first_read: Callable[[], None] | None = None) -> None:
        super().__init__(stream, on_first_read=on_first_read)
        self._in_chunk = 0
        self._extensions = 0

    def fits(self, limit: int) -> bool:
        return self._in_chunk <= limit

    def _receive(self, view: memoryview) -> int:
        filled = 0
        while filled < len(view):
            if not self._in_chunk and not self._open_chunk():
                break
            got = self._stream.read_into(view[filled : filled + self._in_chunk])
            if got == 0:
                raise ClientDisconnected("The request body ended inside a chunk.")
            self._in_chunk -= got
            filled += got
            if not self._in_chunk:
                self._close_chunk()
            if not self._stream.buffer:
                break
        return filled

    def _open_chunk(self) -> bool:
        """Read a chunk's first line; False after the last chunk and its trailers."""
        line = self._line(_MAX_CHUNK_LINE)
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise BadBody("A chunk of the request body does not begin with its size.")
        self._extensions += len(line) - len(match[1]) - 2
        if self._extensions > _MAX_EXTENSIONS:
            raise BadBody("The request body carries too many chunk extensions.")
        self._in_chunk = int(match[1], 16)
        if not self._in_chunk:
            self._skip_trailers()
            self.complete = True
        return not self.complete

    def _close_chunk(self) -> None:
        if self._line(2) != b"\r\n":
            raise BadBody("A chunk of the request body does not end where its size says.")

    def _skip_trailers(self) -> None:
        allowed = _MAX_TRAILERS
        while (line := self._line(allowed)) != b"\r\n":
            text = line.removesuffix(b"\r\n")
            if text == line or b":" not in text or len(text.translate(None, CONTROLS)) < len(text.replace(b"\t", b"")):
                raise BadBody("A trailer of the request body is malformed.")
            allowed -= len(line)
            if allowed <= 0:
                raise BadBody("The trailers of the request body are too long.")

    def _line(self, limit: int) -> bytes:
        line = self._stream.read_line(limit)
        if line is None:
            raise BadBody("A line in the framing of the request body is too long.")
        if not line:
            raise ClientDisconnected("The request body ended before its last chunk.")
        return line
