"""TLS: certificates, and the handshake that never holds a thread."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

PLAIN_HTTP_REFUSED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks HTTPS: use an address that begins with https.\n"
)


class Tls:
    """The server's side of TLS 1.2 and 1.3. Safe to use from several threads."""

    def __init__(self, *, certificate: Path, key: Path) -> None:
        """Load certificate (with its chain) and key, both PEM; OSError or ssl.SSLError where that fails."""
        self._certificate = certificate
        self._key = key
        self._context = self._load()

    def reload(self) -> None:
        """Read the files again, for the connections to come. Where that fails the old ones stay in use."""
        # A context in use would have the new certificate with the old key for a moment.
        self._context = self._load()

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._certificate, self._key)
        return context

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """The socket with TLS on it; the handshake is still to be done."""
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


def handshake(sock: ssl.SSLSocket) -> bool:
    """Carry the handshake on as far as the bytes that arrived allow, without waiting; whether it is done.

    Raises ssl.SSLError or another OSError where it fails.
    """
    try:
        sock.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


def speaks_plain_http(sock: socket.socket) -> bool:
    """Whether the first byte that arrived begins an HTTP request instead of a TLS record."""
    try:
        return sock.recv(1, socket.MSG_PEEK).isalpha()
    except BlockingIOError:
        return False


def tls_environ(sock: ssl.SSLSocket) -> dict[str, str]:
    """What the application may know about the connection's TLS."""
    cipher = sock.cipher()
    return {"HTTPS": "on", "SSL_PROTOCOL": sock.version() or "", "SSL_CIPHER": cipher[0] if cipher else ""}
