"""A small HTTP/1.1 client that costs little, checks all that it is told and never asks twice."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

TIMEOUT = 60.0
"""Seconds that a server may be silent."""
_PIECE = 1 << 20

Keep = Callable[[memoryview], None]


class AnswerError(Exception):
    """What came is not the answer that the request has to get."""


class Client:
    """One connection. To be used by one thread."""

    def __init__(self, url: str, *, buffer: int = _PIECE) -> None:
        self._url = url
        self.host = urlsplit(url).netloc
        self.sock = _connect(url)
        self.ended = False
        """The last answer said that no other comes on this connection."""
        self._buffer = bytearray(buffer)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    def send(self, data: bytes) -> None:
        """Send a whole request, on a new connection where the server has announced the end of the last."""
        self.renew()
        self.sock.sendall(data)

    def send_file(self, head: bytes, file: Path) -> None:
        """Send a request whose body is a file."""
        self.renew()
        self.sock.sendall(head)
        with file.open("rb") as body:
            self.sock.sendfile(body)

    def receive(self, keep: Keep | None = None, *, bodyless: bool = False) -> tuple[int, int]:
        """The status and the length of the body of one answer; `keep` gets the body piece by piece."""
        status, head = self._head()
        if bodyless or status in (204, 304):
            return status, 0
        if _field(head, b"transfer-encoding").lower() == b"chunked":
            return status, self._chunks(keep)
        length = _field(head, b"content-length")
        if not length.isdigit():
            raise AnswerError(f"an answer {status} without a length")
        self._take(int(length), keep)
        return status, int(length)

    def renew(self) -> None:
        """Connect anew if the server has announced the end of the connection."""
        if not self.ended:
            return
        self.sock.close()
        self.sock = _connect(self._url)
        self._start = self._end = 0
        self.ended = False

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _head(self) -> tuple[int, bytes]:
        head = self._line_until(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head = self._line_until(b"\r\n\r\n")
        version, _, rest = head.partition(b" ")
        if version != b"HTTP/1.1" or not rest[:3].isdigit():
            raise AnswerError(f"no HTTP/1.1 answer but {head[:40]!r}")
        self.ended = _field(head, b"connection").lower() == b"close"
        return int(rest[:3]), head

    def _line_until(self, end: bytes) -> bytes:
        while True:
            found = self._buffer.find(end, self._start, self._end)
            if found >= 0:
                line = bytes(self._view[self._start:found])
                self._start = found + len(end)
                return line
            self._fill()

    def _fill(self) -> None:
        """Receive more; what is unread moves to the front where no room is left."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            unread = bytes(self._view[self._start:self._end])
            if len(unread) == len(self._buffer):
                raise AnswerError("a line of an answer has no end")
            self._view[:len(unread)] = unread
            self._start, self._end = 0, len(unread)
        got = self.sock.recv_into(self._view[self._end:])
        if not got:
            raise AnswerError("the connection ended before the answer did")
        self._end += got

    def _take(self, size: int, keep: Keep | None) -> None:
        left = size
        while left:
            if self._start == self._end:
                self._fill()
            count = min(left, self._end - self._start)
            if keep is not None:
                keep(self._view[self._start:self._start + count])
            self._start += count
            left -= count

    def _chunks(self, keep: Keep | None) -> int:
        total = 0
        while size := int(self._line_until(b"\r\n").split(b";")[0], 16):
            self._take(size, keep)
            self._take(2, None)
            total += size
        while self._line_until(b"\r\n"):
            pass
        return total


def _field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


def _connect(url: str) -> socket.socket:
    address = urlsplit(url)
    assert address.hostname is not None and address.port is not None
    sock = socket.create_connection((address.hostname, address.port), timeout=TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _trusting().wrap_socket(sock) if address.scheme == "https" else sock


def _trusting() -> ssl.SSLContext:
    """The certificates of the servers are made for one run and signed by nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

