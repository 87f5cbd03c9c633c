"""How the server listens, waits and gives up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Settings of one server process. Times are in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free port; the address that `serve` reports tells which."""
    reuse_port: bool = False
    """Several processes listen on one port (SO_REUSEPORT); needs a port other than 0."""
    backlog: int = 128
    server_name: str = "davfusion"
    """Value of the `Server` response header."""

    threads: int = 4
    """Worker threads that stay when there is nothing to do; threads are started when they are needed."""
    max_threads: int = 128
    """Up to this many requests are under way at once; one thread more leads (see `leadership`)."""
    thread_idle: float = 10.0
    """How long a worker thread beyond `threads` stays without work."""
    pooled_methods: frozenset[str] = frozenset(
        ("PUT", "DELETE", "MOVE", "COPY", "MKCOL", "PROPPATCH", "LOCK", "UNLOCK", "POST")
    )
    """Methods whose requests are known to wait, for a disk or for each other: each goes to a worker
    thread at once. Any other request is begun by the leading thread. A quarter of `max_threads` is kept
    for those others, so that slow uploads, however many, do not stop who only reads."""

    batched_methods: frozenset[str] = frozenset(("PUT",))
    """Those of `pooled_methods` that the leading thread begins itself when the body is here already: of an
    application that answers late (see `gateway.begin`) it begins all that are at hand and finishes them together."""

    tls_cert: Path | None = None
    """PEM file with the certificate and its chain; together with `tls_key` it turns TLS on."""
    tls_key: Path | None = None

    head_timeout: float = 15.0
    """From the first byte of a request (or of a TLS handshake) until its head is complete."""
    idle_timeout: float = 75.0
    """How long a connection may stay open without a request."""
    io_timeout: float = 60.0
    """How long a body may stand still, in either direction."""
    min_rate: int = 500
    """Bytes per second that a body must average, counted only while the server waits for the
    client and after `min_rate_grace`; 0 sets no minimum."""
    min_rate_grace: float = 30.0
    sticky_wait: float = 0.005
    """How long a worker thread waits for the next request after one of the `pooled_methods`."""
    linger_timeout: float = 2.0
    """How long a closing connection still waits for what the client sends, and throws it away, so
    that the client comes to read the last response (RFC 9112 section 9.6). Takes no thread."""
    max_linger: float = 30.0
    """How long that may go on while the client keeps sending."""
    stop_timeout: float = 30.0
    """How long requests under way may go on after stop."""

    max_target: int = 16 * 1024
    max_head: int = 64 * 1024
    max_headers: int = 100
    max_drain: int = 1024 * 1024
    """An unread rest of a body up to this size is read and thrown away to keep the connection;
    with more left the connection is closed."""
    max_connections: int = 4096
    """Open connections of this process; 0 sets no limit."""
    max_connections_per_address: int = 1024
    """Open connections of one client address in this process; 0 sets no limit."""

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both or neither.")
        if self.reuse_port and self.port == 0:
            raise ValueError("reuse_port needs a fixed port: port 0 gives every process its own.")
        if not 1 <= self.threads <= self.max_threads:
            raise ValueError("threads must be at least 1 and at most max_threads.")
