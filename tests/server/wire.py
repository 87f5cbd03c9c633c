"""A client that sends exactly the bytes it is told to, and reads exactly one response."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    def __init__(self, address: tuple[str, int], *, timeout: float = 10.0, tls: ssl.SSLContext | None = None):
        self.sock: socket.socket = socket.create_connection(address, timeout=timeout)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self._buffer = b""
        self.was_reset = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> Wire:
        self.sock.sendall(data)
        return self

    def ask(self, data: bytes, *, head: bool = False) -> Answer:
        return self.send(data).answer(head=head)

    def answer(self, *, head: bool = False) -> Answer:
        """The next response; EOFError where the connection ends before or inside it."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])[1])
        headers = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} comes twice"
            headers[name.lower()] = value
        return Answer(status, headers, b"" if head or status < 200 else self._body(status, headers))

    def rest(self) -> bytes:
        """What comes up to the end of the connection."""
        data, self._buffer = self._buffer, b""
        try:
            while block := self.sock.recv(65536):
                data += block
        except ConnectionResetError:
            self.was_reset = True
        return data

    def ended(self) -> bool:
        """Whether the server ends the connection without a further byte."""
        return self.rest() == b""

    def _body(self, status: int, headers: dict[str, str]) -> bytes:
        if status in (204, 304):
            return b""
        if headers.get("transfer-encoding") == "chunked":
            assert "content-length" not in headers
            return self._chunks()
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        assert headers["connection"] == "close"
        return self.rest()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            assert self._exactly(2) == b"\r\n"
        assert self._exactly(2) == b"\r\n"
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        end = self._buffer.index(mark) + len(mark)
        found, self._buffer = self._buffer[:end], self._buffer[end:]
        return found

    def _exactly(self, size: int) -> bytes:
        parts = [self._buffer[:size]]
        have = len(parts[0])
        self._buffer = self._buffer[size:]
        while have < size:
            self._more()
            parts.append(self._buffer[: size - have])
            self._buffer = self._buffer[size - have :]
            have += len(parts[-1])
        return b"".join(parts)

    def _more(self) -> None:
        block = self.sock.recv(262144)
        if not block:
            raise EOFError("the connection ended inside a response")
        self._buffer += block
