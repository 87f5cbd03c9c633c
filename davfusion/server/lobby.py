"""Where connections wait without a thread: fresh, idle, half a request head, or swallowing a client's last bytes."""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from davfusion.server.connection import FusionConnection
from davfusion.server.settings import ServerSettings

log = logging.getLogger(__name__)

_TICK = 0.05 if sys.platform == "win32" else 0.5
_SHORT_TICK = 0.02
_FRESH_GRACE = 1.0
_ACCEPT_AT_ONCE = 64
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Lobby:
    """Accepts connections and watches those that no worker serves.

    `run` and `leave` belong to one thread; `put` and `stop` may be called by any.
    """

    def __init__(
        self,
        listener: socket.socket,
        settings: ServerSettings,
        *,
        greet: Callable[[socket.socket, tuple[str, int], Callable[[str], None]], FusionConnection],
        dispatch: Callable[[FusionConnection], None],
        tick: Callable[[float], bool],
    ) -> None:
        """`greet` makes a connection of an accepted socket, `dispatch` gives one to a worker, `tick` is
        called with the time (time.monotonic) about twice a second and after every event, and soon
        again where it returns True."""
        listener.setblocking(False)
        self._listener = listener
        self._settings = settings
        self._greet = greet
        self._dispatch = dispatch
        self._tick = tick
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._parked: dict[int, tuple[FusionConnection, float]] = {}
        self._per_address: Counter[str] = Counter()
        self._open = 0
        self._stop = False
        self._closed = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._accepting = True

    def put(self, connection: FusionConnection) -> None:
        """Watch a connection until it needs a worker. It belongs to the lobby from now on."""
        if connection.eager and not self._closed:
            self._dispatch(connection)
            return
        self._park(connection)

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stop = True
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"x")

    def run(self) -> None:
        """Accept and watch until `stop`."""
        next_expiry = 0.0
        timeout = _TICK
        while not self._stop:
            self._handle_events(timeout)
            now = time.monotonic()
            timeout = _SHORT_TICK if self._tick(now) else _TICK
            if now >= next_expiry:
                self._expire(now)
                if not self._accepting:
                    self._selector.register(self._listener, selectors.EVENT_READ)
                    self._accepting = True
                next_expiry = now + _TICK

    def leave(self) -> None:
        """Stop listening, see the requests under way off, then close what is left.

        Requests that have arrived are served, a fresh connection gets a moment for its first one.
        Returns when no connection is left, or after `stop_timeout`.
        """
        self._accept(limit=self._settings.backlog)
        if self._accepting:
            self._selector.unregister(self._listener)
        self._listener.close()
        began = time.monotonic()
        while self._open:
            self._handle_events(_SHORT_TICK)
            now = time.monotonic()
            if now > began + self._settings.stop_timeout:
                break
            self._tick(now)
            self._expire(now)
            self._dismiss(fresh_too=now > began + _FRESH_GRACE)
        with self._lock:
            self._closed = True
        for connection, _ in list(self._parked.values()):
            self._drop(connection)
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def forget(self, address: str) -> None:
        """Count a connection as closed."""
        with self._lock:
            self._open -= 1
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

    def _park(self, connection: FusionConnection) -> None:
        with self._lock:
            if not self._closed:
                descriptor = connection.socket.fileno()
                self._parked[descriptor] = (connection, time.monotonic())
                self._selector.register(descriptor, selectors.EVENT_READ, connection)
                return
        connection.close()

    def _unpark(self, connection: FusionConnection) -> None:
        descriptor = connection.socket.fileno()
        with self._lock:
            if self._parked.pop(descriptor, None) is not None:
                self._selector.unregister(descriptor)

    def _handle_events(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            connection = key.data
            try:
                if connection is not None:
                    self._attend(connection)
                elif key.fileobj is self._listener:
                    self._accept(limit=_ACCEPT_AT_ONCE)
                else:
                    self._wake_receiver.recv(64)
            except Exception:
                # One connection must never end the server for all others.
                log.exception("connection event failed")
                if connection is not None:
                    self._drop(connection)

    def _attend(self, connection: FusionConnection) -> None:
        if connection.rfile.closed:
            return  # an earlier event of the same round made room by closing it
        if connection.lingering:
            if not connection.swallow():
                self._drop(connection)
        elif connection.gather():
            self._unpark(connection)
            self._dispatch(connection)

    def _drop(self, connection: FusionConnection) -> None:
        if not connection.rfile.closed:
            self._unpark(connection)
            connection.close()

    def _accept(self, *, limit: int) -> None:
        for _ in range(limit):
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._make_room(error)
                    return
                log.debug("accept failed error=%r", error)
                continue
            self._admit(sock, address[0].removeprefix("::ffff:"), address[1])

    def _admit(self, sock: socket.socket, host: str, port: int) -> None:
        limits = self._settings
        with self._lock:
            full = 0 < limits.max_connections <= self._open
            greedy = 0 < limits.max_connections_per_address <= self._per_address[host]
            if not full and not greedy:
                self._open += 1
                self._per_address[host] += 1
        if full or greedy:
            log.warning("connection refused client=%s limit=%s", host, "total" if full else "address")
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.send(_FULL)
            sock.close()
            return
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self._greet(sock, (host, port), self.forget)
        except OSError as error:
            log.debug("connection lost client=%s error=%r", host, error)
            sock.close()
            self.forget(host)
            return
        self._park(connection)

    def _make_room(self, error: OSError) -> None:
        """No descriptor is left: give up the connection that has waited longest, and listen again later."""
        log.error("accept failed error=%r connections=%d", error, self._open)
        self._selector.unregister(self._listener)
        self._accepting = False
        with self._lock:
            waiting = min(self._parked.values(), key=lambda entry: entry[1], default=None)
        if waiting is not None:
            self._unpark(waiting[0])
            waiting[0].expire()

    def _expire(self, now: float) -> None:
        with self._lock:
            waiting = list(self._parked.values())
        for connection, parked_at in waiting:
            if now >= connection.deadline(parked_at):
                self._unpark(connection)
                connection.expire()

    def _dismiss(self, *, fresh_too: bool) -> None:
        with self._lock:
            waiting = list(self._parked.values())
        for connection, _ in waiting:
            if not connection.lingering and (fresh_too or not connection.unused):
                self._drop(connection)
