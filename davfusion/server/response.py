"""One response on one connection: its head, its framing and its end (RFC 9112)."""

from __future__ import annotations

import os
import re
import ssl
import time
from email.utils import formatdate

from davfusion.server.body import Body
from davfusion.server.errors import BadRequest, ClientDisconnected, ResponseFailed
from davfusion.server.files import FileWrapper
from davfusion.server.head import RequestHead
from davfusion.server.stream import SocketStream

_JOIN_BELOW = 64 * 1024
_STATUS = re.compile(r"[2-5][0-9][0-9] [^\r\n]*")
# The server's own business (RFC 9110 section 7.6.1); an application that sets them is mistaken.
_HOP_BY_HOP = frozenset(("transfer-encoding", "upgrade", "trailer", "te", "proxy-connection"))
_OURS = frozenset(("server", "date", "keep-alive"))


class ServerIdentity:
    """The headers that every response carries: Server and Date. Safe to use from several threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._second = 0
        self._lines = ""

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
        self.until_close = False
        """The end of the connection is the only mark of the response's end."""
        self.sent = False
        self.status: str | None = None
        self._stream = stream
        self._head = head
        self._body = body
        self._identity = identity
        self._max_drain = max_drain
        self._headers: list[tuple[str, str]] = []
        self._bodyless = head.method == "HEAD"
        self._chunked = False
        self._remaining: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing of the response's body would be sent."""
        return self.sent and self._bodyless

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Set status and headers; nothing is sent yet."""
        if not _STATUS.fullmatch(status):
            raise ValueError(f"not a final status: {status!r}")
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
        self._send(self._build_head(len(block)), block)

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
        if count <= _JOIN_BELOW:
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
        fields: list[str] = []
        for name, value in self._headers:
            lower = name.lower()
            if lower == "content-length":
                self._remaining = _length(value)
            elif lower == "connection":
                self.close = self.close or "close" in value.lower()
            elif lower in _HOP_BY_HOP:
                raise ValueError(f"the application set the hop-by-hop header {name}")
            elif lower not in _OURS:
                fields.append(f"{name}: {value}\r\n")
        text = "".join(fields)
        if text.count("\n") != len(fields) or text.count("\r") != len(fields):
            raise ValueError("the application gave a header that holds a line end")
        text = f"HTTP/1.1 {self.status}\r\n{self._identity.lines()}{text}{self._frame(whole)}{self._connection()}\r\n"
        head = text.encode("latin-1")
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
        if self._head.http11:
            self._chunked = True
            return "Transfer-Encoding: chunked\r\n"
        self.close = self.until_close = True
        return ""

    def _connection(self) -> str:
        if self.close or not self._body.drainable(self._max_drain):
            self.close = True
            return "Connection: close\r\n"
        return "" if self._head.http11 else "Connection: keep-alive\r\n"


def _length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"the application's Content-Length is {value!r}")
    return int(value)


def refusal(bad: BadRequest, identity: ServerIdentity) -> bytes:
    """A whole response to a request that was not understood; the connection is to be closed after it."""
    text = f"{bad.reason}\n"
    head = f"HTTP/1.1 {bad.status}\r\n{identity.lines()}Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
    return f"{head}Connection: close\r\n\r\n{text}".encode("latin-1")
