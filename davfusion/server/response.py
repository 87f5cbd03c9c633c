"""One response on one connection: its head, its framing and its end (RFC 9112)."""

from __future__ import annotations

import enum
import os
import re
import ssl
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from types import TracebackType
from typing import NamedTuple

from davfusion.server.body import Body
from davfusion.server.errors import BadRequest, ClientDisconnected, ResponseFailed
from davfusion.server.files import FileWrapper
from davfusion.server.head import RequestHead
from davfusion.server.recent import Recent
from davfusion.server.stream import SocketStream

_JOIN_BELOW = 64 * 1024
_READ_BELOW = 8 * 1024
"""Up to this size it costs less to copy a file into the packet of the head than to call the kernel twice."""
_STATUS = re.compile(r"[2-5][0-9][0-9] [^\r\n]*")
# The server's own business (RFC 9110 section 7.6.1); an application that sets them is mistaken.
_HOP_BY_HOP = frozenset(("transfer-encoding", "upgrade", "trailer", "te", "proxy-connection"))
_MAX_KNOWN = 1024
_MAX_KNOWN_LENGTH = 64

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class _Kind(enum.Enum):
    PLAIN = enum.auto()
    LENGTH = enum.auto()
    CONNECTION = enum.auto()
    OURS = enum.auto()


_KINDS = {
    "content-length": _Kind.LENGTH,
    "connection": _Kind.CONNECTION,
    "server": _Kind.OURS,
    "date": _Kind.OURS,
    "keep-alive": _Kind.OURS,
}
_PLAIN = _Kind.PLAIN
_KEPT = 256
"""Headers of answers that are kept as they go out: files that are asked for again and again."""
_MAX_KEPT_HEADERS = 16


class _Fields(NamedTuple):
    """What the headers that an application gave make of a head."""

    text: str
    """The lines that are taken over."""
    length: int | None
    """Of Content-Length."""
    close: bool
    """The connection is to end."""


class ServerIdentity:
    """The headers that every response carries: Server and Date. Safe to use from several threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._second = 0
        self._lines = ""
        # Entries are only added, and each is right whoever adds it.
        self.kinds: dict[str, _Kind] = {}
        """What the response headers of these names are to us, as `kind` found them so far."""
        self._statuses: set[str] = set()
        self._kept: Recent[tuple[tuple[str, str], ...], _Fields] = Recent(_KEPT)

    def fields(self, status: str, headers: Sequence[tuple[str, str]]) -> _Fields:
        """What headers make of a head. Those of an answer that may come again are at hand; ValueError as `kind`."""
        if status != "200 OK" or len(headers) > _MAX_KEPT_HEADERS:
            return self._fields(headers)
        key = tuple(headers)
        return self._kept.values.get(key) or self._kept.keep(key, self._fields(headers))

    def _fields(self, headers: Sequence[tuple[str, str]]) -> _Fields:
        known, lines = self.kinds, []
        length, close = None, False
        for name, value in headers:
            kind = known.get(name) or self.kind(name)
            if kind is _PLAIN:
                lines.append(f"{name}: {value}\r\n")
            elif kind is _Kind.LENGTH:
                length = _length(value)
            elif kind is _Kind.CONNECTION:
                close = close or "close" in value.lower()
        text = "".join(lines)
        if text.count("\n") != len(lines) or text.count("\r") != len(lines):
            raise ValueError("the application gave a header that holds a line end")
        return _Fields(text, length, close)

    def kind(self, name: str) -> _Kind:
        """What a response header of this name is to us; ValueError for one that no application may set."""
        lower = name.lower()
        if lower in _HOP_BY_HOP:
            raise ValueError(f"the application set the hop-by-hop header {name}")
        kind = _KINDS.get(lower, _Kind.PLAIN)
        if len(self.kinds) < _MAX_KNOWN and len(name) <= _MAX_KNOWN_LENGTH:
            self.kinds[name] = kind
        return kind

    def check_status(self, status: str) -> None:
        """ValueError where this cannot be the status of a final response."""
        if status in self._statuses:
            return
        if not _STATUS.fullmatch(status):
            raise ValueError(f"not a final status: {status!r}")
        if len(self._statuses) < _MAX_KNOWN and len(status) <= _MAX_KNOWN_LENGTH:
            self._statuses.add(status)

    def lines(self) -> str:
        """Both header lines with their line ends."""
        second = int(time.time())
        if second != self._second:
            self._lines = f"Server: {self.name}\r\nDate: {formatdate(second, usegmt=True)}\r\n"
            self._second = second
        return self._lines


class Response:
    """What the application answers to one request. Used by one thread.

    Sending raises ClientDisconnected when the client is gone and ResponseFailed when the
    application contradicts the Content-Length that the client was promised. After a response that
    failed with `sent` True the connection must be closed, so that the client sees the failure.
    """

    until_close = False
    """The end of the connection is the only mark of the response's end."""
    sent = False
    status: str | None = None
    _headers: Sequence[tuple[str, str]] = ()
    _bodyless = False
    _chunked = False
    _remaining: int | None = None

    def __init__(
        self,
        stream: SocketStream,
        head: RequestHead,
        body: Body,
        identity: ServerIdentity,
        *,
        close: bool,
        max_drain: int,
    ) -> None:
        self.close = close
        """The connection ends with this response."""
        self._stream = stream
        self._head = head
        self._body = body
        self._identity = identity
        self._max_drain = max_drain

    @property
    def over(self) -> bool:
        """Whether nothing of the response's body would be sent."""
        return self.sent and self._bodyless

    def begin(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """The `start_response` of PEP 3333."""
        if exc_info is not None:
            if self.sent and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.status is not None:
            raise RuntimeError("the application called start_response twice")
        self.start(status, headers)
        return self.write

    def start(self, status: str, headers: Sequence[tuple[str, str]]) -> None:
        """Set status and headers; nothing is sent yet. ValueError where they cannot be sent."""
        self._identity.check_status(status)
        self.status = status
        self.until_close = self._chunked = False
        self._remaining = None
        self._headers = headers
        self._bodyless = self._head.method == "HEAD" or status[:3] in ("204", "304")

    def write(self, block: bytes) -> None:
        """Send a block of a body of unknown length, the head before it."""
        head = b"" if self.sent else self._build_head(None)
        self._send(head, block)

    def write_whole(self, block: bytes) -> None:
        """Send a body that is just this block, the head with it."""
        size = len(block)
        head = self._build_head(size)
        if self._remaining == size <= _JOIN_BELOW and not self._bodyless:
            self._remaining = 0
            self._deliver(head + block)
        else:
            self._send(head, block)

    def write_file(self, wrapper: FileWrapper) -> None:
        """Send a file, by the kernel where that is possible."""
        extent = wrapper.extent()
        if extent is None:
            for block in wrapper:
                self.write(block)
                if self.over:
                    return
            return
        descriptor, offset, size = extent
        head = self._build_head(size)
        count = 0 if self._bodyless else min(size, self._remaining or 0)
        if count <= (_JOIN_BELOW if self._stream.is_tls else _READ_BELOW):
            self._send(head, os.pread(descriptor, count, offset))
            return
        self._deliver(head, more=True)
        try:
            sent = self._stream.send_file(descriptor, offset, count)
        except (ConnectionError, TimeoutError, ssl.SSLError) as broken:
            raise ClientDisconnected(f"The response broke off: {broken}.") from broken
        self._remaining = (self._remaining or 0) - sent

    def finish(self) -> None:
        """End the response; ResponseFailed where it is shorter than its Content-Length."""
        if not self.sent:
            self._deliver(self._build_head(0))
        if self._bodyless:
            return
        if self._chunked:
            self._deliver(b"0\r\n\r\n")
        elif self._remaining:
            raise ResponseFailed(f"the response body is {self._remaining} bytes short of its Content-Length")

    def refuse(self, status: str, reason: str) -> None:
        """Answer with a plain sentence instead of the application and close; nothing was sent yet."""
        self.close = True
        text = f"{reason}\n".encode()
        self.start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))])
        self.write_whole(text)

    def _send(self, head: bytes, block: bytes) -> None:
        if self._bodyless or not block:
            if head:
                self._deliver(head)
            return
        excess = self._remaining is not None and len(block) > self._remaining
        if self._remaining is not None:
            block = block[: self._remaining] if excess else block
            self._remaining -= len(block)
        if self._chunked:
            block = b"%x\r\n%b\r\n" % (len(block), block)
        if len(block) <= _JOIN_BELOW:
            self._deliver(head + block if head else block)
        else:
            if head:
                self._deliver(head, more=True)
            self._deliver(block)
        if excess:
            raise ResponseFailed("the response body is longer than its Content-Length")

    def _deliver(self, data: bytes, *, more: bool = False) -> None:
        try:
            self._stream.send(data, more=more)
        except OSError as broken:
            raise ClientDisconnected(f"The response broke off: {broken}.") from broken

    def _build_head(self, whole: int | None) -> bytes:
        """The head; `whole` is the length of the body where it is known without Content-Length."""
        if self.status is None:
            raise RuntimeError("the application gave a body before it called start_response")
        identity = self._identity
        fields = identity.fields(self.status, self._headers)
        self._remaining = fields.length
        self.close = self.close or fields.close
        text = f"HTTP/1.1 {self.status}\r\n{identity.lines()}{fields.text}{self._frame(whole)}{self._connection()}\r\n"
        head = text.encode("latin-1")
        if not self._body.complete:
            self._body.withdraw()
        self.sent = True
        return head

    def _frame(self, whole: int | None) -> str:
        if self.status is not None and self.status.startswith("204"):
            return ""
        if self._remaining is None and whole is not None and (whole or not self._bodyless):
            self._remaining = whole
        if self._remaining is not None:
            return f"Content-Length: {self._remaining}\r\n"
        if self._bodyless:
            return ""
        if self._head.fields.http11:
            self._chunked = True
            return "Transfer-Encoding: chunked\r\n"
        self.close = self.until_close = True
        return ""

    def _connection(self) -> str:
        if self.close or not (self._body.complete or self._body.drainable(self._max_drain)):
            self.close = True
            return "Connection: close\r\n"
        return "" if self._head.fields.http11 else "Connection: keep-alive\r\n"


def _length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"the application's Content-Length is {value!r}")
    return int(value)


def refusal(bad: BadRequest, identity: ServerIdentity) -> bytes:
    """A whole response to a request that was not understood; the connection is to be closed after it."""
    text = f"{bad.reason}\n"
    head = f"HTTP/1.1 {bad.status}\r\n{identity.lines()}Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
    return f"{head}Connection: close\r\n\r\n{text}".encode("latin-1")
