"""The listening sockets of a server, made once by the process that outlives the workers."""

from __future__ import annotations

import socket

from davfusion.settings import ConfigError, join_listen

_BACKLOG = 512


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """One listening socket per worker, all at the same address; port 0 lets the system choose it.

    Each worker has a queue of its own that outlives it: connections that arrive while it restarts wait.
    Raises ConfigError when the address cannot be had.
    """
    try:
        first = _bind(host, port, shared=False)
        if count > 1:
            # Only a bind without SO_REUSEPORT fails when somebody else already listens there.
            port = first.getsockname()[1]
            first.close()
            first = _bind(host, port, shared=True)
        port = first.getsockname()[1]
        sockets = [first, *(_bind(host, port, shared=True) for _ in range(count - 1))]
        for each in sockets:
            each.listen(_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {join_listen(host, port)}: {error.strerror or error}. "
            "Stop the program that uses it, or choose another with --host and --port.") from error
    return sockets


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and host == "::":
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def address_of(listening: socket.socket, scheme: str = "http") -> str:
    """The URL at which people reach the server, ending in `/`."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://{join_listen(host, port)}/"
