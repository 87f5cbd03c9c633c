"""Where connections wait without a thread: fresh, idle, half a request, or swallowing a client's last bytes."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from davfusion.server.connection import FusionConnection
from davfusion.server.eagerness import EagerWait
from davfusion.server.poller import open_poller
from davfusion.server.settings import ServerSettings

log = logging.getLogger(__name__)

_TICK = 0.05 if sys.platform == "win32" else 0.5
_ACCEPT_AT_ONCE = 64
_LAST_REQUEST_GRACE = 0.25
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Greet = Callable[[socket.socket, tuple[str, int], Callable[["FusionConnection"], None]], FusionConnection]


class Lobby:
    """Accepts connections, watches those that no thread serves, and knows all that are open.

    `watch`, `forget` and `wake` may be called by any thread, everything else only by the one that leads
    (see `leadership`), or for it.
    """

    def __init__(self, listener: socket.socket, settings: ServerSettings, *, greet: Greet) -> None:
        """`greet` makes a connection of an accepted socket, given its address and what to call at its end."""
        listener.setblocking(False)
        self.ready: deque[FusionConnection] = deque()
        """Connections to be attended to, each once."""
        self.lock = threading.Lock()
        """Held while a connection begins or ceases to be watched."""
        self.now = time.monotonic()
        """When the last `gather` ended."""
        self._listener = listener
        self._settings = settings
        self._greet = greet
        self._poller = open_poller()
        self._eager = EagerWait(self._poller.wait)
        self._watched: dict[int, FusionConnection] = {}
        self._postponed: list[FusionConnection] = []
        self._open: set[FusionConnection] = set()
        self._per_address: Counter[str] = Counter()
        self._next_expiry = 0.0
        self._closed = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._poller.watch(listener.fileno())
        self._poller.watch(self._wake_receiver.fileno())
        self._accepting = True
        self._stopped = False

    @property
    def connections(self) -> list[FusionConnection]:
        """All that are open, whoever serves them."""
        with self.lock:
            return list(self._open)

    def wake(self) -> None:
        """Make a `gather` under way return."""
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"x")

    def watch(self, connection: FusionConnection) -> None:
        """Watch a connection that is at rest. It belongs to the lobby from now on."""
        connection.resting_since = time.monotonic()
        with self.lock:
            if not self._closed:
                descriptor = connection.socket.fileno()
                self._watched[descriptor] = connection
                try:
                    self._poller.watch(descriptor)
                    return
                except OSError as error:
                    del self._watched[descriptor]
                    log.error("connection cannot be watched error=%r connections=%d", error, len(self._watched))
        connection.close()

    def unwatch(self, connection: FusionConnection) -> None:
        """Let go of a connection, if it is watched."""
        with self.lock:
            self.unwatch_locked(connection)

    def unwatch_locked(self, connection: FusionConnection) -> None:
        """The same for who holds the lock."""
        descriptor = connection.socket.fileno()
        if self._watched.pop(descriptor, None) is not None:
            self._poller.unwatch(descriptor)

    def postpone(self, connection: FusionConnection) -> None:
        """Attend to a connection, which stays watched, again after all others that have something to say."""
        connection.postponed = True
        self._postponed.append(connection)

    def drop(self, connection: FusionConnection) -> None:
        """Let go of a connection and close it."""
        if not connection.stream.closed:
            self.unwatch(connection)
            connection.close()

    def gather(self, seconds: float = _TICK) -> None:
        """Wait for something to do, put the connections that it comes from into `ready`, which is empty before.

        With 0 nothing is waited for.
        """
        if self.now >= self._next_expiry:
            self._next_expiry = self.now + _TICK
            self._expire()
        descriptors = self._wait(0 if self._postponed else seconds)
        watched, ready = self._watched, self.ready
        others = 0
        for descriptor in descriptors:
            connection = watched.get(descriptor)
            if connection is None:
                others += 1
            elif not connection.postponed:
                ready.append(connection)
        for connection in self._postponed:
            connection.postponed = False
            ready.append(connection)
        self._postponed.clear()
        if others:
            self._welcome()
        self.now = time.monotonic()

    def stop_accepting(self) -> None:
        """Take in who has knocked already, and listen no more."""
        self._accept(limit=self._settings.backlog)
        if self._accepting:
            self._poller.unwatch(self._listener.fileno())
        self._accepting = False
        self._stopped = True
        self._listener.close()

    def dismiss(self, *, fresh_too: bool) -> None:
        """Close what is at rest, except connections that still swallow and, at first, those that were not used yet.

        One that was served just now may have its next request on the way: it gets a moment for that, too.
        """
        self._expire()
        quiet_since = time.monotonic() - _LAST_REQUEST_GRACE
        for connection in list(self._watched.values()):
            at_rest = not connection.postponed and not connection.lingering
            quiet = not connection.unused and connection.resting_since < quiet_since
            if at_rest and (fresh_too or quiet):
                self.drop(connection)

    def close(self) -> None:
        """Close what is at rest, and what comes to rest later."""
        with self.lock:
            self._closed = True
        for connection in list(self._watched.values()):
            self.drop(connection)
        self._poller.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def cut_off(self) -> None:
        """Break the connections that are still open, so that what waits for them ends."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def forget(self, connection: FusionConnection) -> None:
        """Count a connection as closed."""
        address = connection.remote_addr
        with self.lock:
            self._open.discard(connection)
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

    def _wait(self, seconds: float) -> list[int]:
        if not seconds:
            return self._poller.wait(0)
        patience = seconds if self._open or not self._accepting else None
        if len(self._watched) < len(self._open):
            return self._poller.wait(patience)  # those that other threads serve need the interpreter
        return self._eager.wait(patience)

    def _welcome(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_receiver.recv(64)
        if self._accepting:
            self._accept(limit=_ACCEPT_AT_ONCE)

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
        full = 0 < limits.max_connections <= len(self._open)
        if full or 0 < limits.max_connections_per_address <= self._per_address[host]:
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
            return
        with self.lock:
            self._open.add(connection)
            self._per_address[host] += 1
        self.watch(connection)

    def _make_room(self, error: OSError) -> None:
        """No descriptor is left: give up the connection that has waited longest, and listen again later."""
        log.error("accept failed error=%r connections=%d", error, len(self._open))
        self._poller.unwatch(self._listener.fileno())
        self._accepting = False
        resting = [connection for connection in list(self._watched.values()) if not connection.postponed]
        waiting = min(resting, key=lambda connection: connection.resting_since, default=None)
        if waiting is not None:
            self.unwatch(waiting)
            waiting.end_early()

    def _expire(self) -> None:
        for connection in list(self._watched.values()):
            if connection.postponed or self.now < connection.deadline():
                continue
            if connection.is_late():
                self.postpone(connection)
            else:
                self.unwatch(connection)
                connection.end_early()
        if not self._accepting and not self._stopped:
            self._poller.watch(self._listener.fileno())
            self._accepting = True
