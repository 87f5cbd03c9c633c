"""Bytes in and out of one socket, plain or TLS, with limits on how long the peer may keep us waiting."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable

from davfusion.server.settings import ServerSettings

HEAD_READ = 16 * 1024
_RESET = struct.pack("ii", 1, 0)
_SENDFILE_MAX = 1 << 30
_MSG_MORE = getattr(socket, "MSG_MORE", 0)
_NOTHING_TO_READ = (BlockingIOError, ssl.SSLWantReadError)
_NO_ROOM = (BlockingIOError, ssl.SSLWantWriteError)


class Patience:
    """How long one peer may make us wait in one direction of one exchange.

    It may stand still for `still` seconds at a time, and once all waiting adds up to `grace` seconds,
    it must have moved `rate` bytes for each further second. Time that we spend ourselves is not counted.
    """

    __slots__ = ("_exhausted", "_grace", "_rate", "_still", "moved", "waited")

    def __init__(self, *, still: float, grace: float, rate: int) -> None:
        self._still = still
        self._grace = grace
        self._rate = rate
        self.reset()

    def reset(self) -> None:
        """Begin a new exchange."""
        self.moved = 0
        self.waited = 0.0
        self._exhausted = False

    def exhaust(self) -> None:
        """Allow no further wait in this exchange."""
        self._exhausted = True

    def allowance(self) -> float:
        """Seconds that the next wait may last."""
        if self._exhausted:
            return 0.0
        if not self._rate:
            return self._still
        return min(self._still, self._grace + self.moved / self._rate - self.waited)


class SocketStream:
    """A socket with a buffer of bytes that came in and were not used yet.

    The socket is non-blocking; what has to wait, waits in `poll`, after `before_wait` was called in the
    thread that will wait. Used by one thread at a time. Methods raise TimeoutError when patience ends
    and other OSErrors (ssl.SSLError among them) when the connection is broken.
    """

    __slots__ = ("_before_wait", "buffer", "closed", "incoming", "outgoing", "sock")

    def __init__(self, sock: socket.socket, settings: ServerSettings, *, before_wait: Callable[[], None]) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.buffer = bytearray()
        self.closed = False
        self.incoming = _patience(settings)
        self.outgoing = _patience(settings)
        self._before_wait = before_wait

    @property
    def is_tls(self) -> bool:
        return isinstance(self.sock, ssl.SSLSocket)

    def has_data(self) -> bool:
        """Whether bytes can be had without the socket becoming readable."""
        return bool(self.buffer) or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0)

    def wait_readable(self, seconds: float) -> bool:
        """Whether there is something to read, also the end of the stream, within this time."""
        return self.has_data() or _wait_for(self.sock, seconds, write=False)

    def fill(self, size: int = HEAD_READ) -> int | None:
        """Add what has arrived to the buffer. How much; 0 at the end of the stream; None for nothing yet."""
        data = self.take(size)
        if data is None:
            return None
        self.buffer += data
        return len(data)

    def take(self, size: int = HEAD_READ) -> bytes | None:
        """What has arrived, past the buffer; b"" at the end of the stream, None for nothing yet."""
        try:
            return self.sock.recv(size)
        except _NOTHING_TO_READ:
            return None

    def read_into(self, view: memoryview) -> int:
        """Wait for at least one byte and put what is there into `view`; 0 at the end of the stream."""
        buffer = self.buffer
        if buffer:
            size = min(len(buffer), len(view))
            view[:size] = buffer[:size]
            del buffer[:size]
            return size
        while True:
            try:
                size = self.sock.recv_into(view)
            except _NOTHING_TO_READ:
                self._wait(write=False, patience=self.incoming)
            except ssl.SSLWantWriteError:
                self._wait(write=True, patience=self.incoming)
            else:
                self.incoming.moved += size
                return size

    def read_line(self, limit: int) -> bytes | None:
        """One line with its line feed; None where none ends within `limit` bytes, b"" at the end of the stream."""
        buffer = self.buffer
        start = 0
        while (end := buffer.find(b"\n", start, limit)) < 0:
            start = len(buffer)
            if start >= limit:
                return None
            size = self.fill()
            if size is None:
                self._wait(write=False, patience=self.incoming)
            elif size == 0:
                return b""
            else:
                self.incoming.moved += size
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        return line

    def send(self, data: bytes | memoryview, *, more: bool = False) -> None:
        """Send all of `data`; `more` says that further bytes follow at once and may share its packet."""
        flags = _MSG_MORE if more and not self.is_tls else 0
        rest: bytes | memoryview = data
        while True:
            try:
                size = self.sock.send(rest, flags)
            except _NO_ROOM:
                self._wait(write=True, patience=self.outgoing)
                continue
            except ssl.SSLWantReadError:
                self._wait(write=False, patience=self.outgoing)
                continue
            self.outgoing.moved += size
            if size == len(rest):
                return
            rest = memoryview(rest)[size:]

    def send_now(self, data: bytes) -> None:
        """Send what fits without waiting, for last words to a peer that may not listen."""
        try:
            self.sock.send(data)
        except OSError:
            return

    def say_goodbye(self) -> None:
        """End a TLS stream so that the client knows that nothing was cut off."""
        if isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.sock.unwrap()

    def reset_at_close(self) -> None:
        """Make the close visible as a failure where the end of the stream would look like success."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send `count` bytes of an open file from `offset`; fewer where the file ends, as returned.

        The position of the descriptor is neither used nor changed: threads may share it.
        """
        if self.is_tls or not hasattr(os, "sendfile") or sys.platform == "darwin":
            return self._copy_file(descriptor, offset, count)
        sent = 0
        while sent < count:
            try:
                size = os.sendfile(self.sock.fileno(), descriptor, offset + sent, min(count - sent, _SENDFILE_MAX))
            except BlockingIOError:
                self._wait(write=True, patience=self.outgoing)
                continue
            if size == 0:
                break
            sent += size
            self.outgoing.moved += size
        return sent

    def _copy_file(self, descriptor: int, offset: int, count: int) -> int:
        block = memoryview(bytearray(min(count, 256 * 1024)))
        sent = 0
        while sent < count:
            size = os.preadv(descriptor, [block[: count - sent]], offset + sent)
            if size == 0:
                break
            self.send(block[:size])
            sent += size
        return sent

    def _wait(self, *, write: bool, patience: Patience) -> None:
        allowed = patience.allowance()
        self._before_wait()
        began = time.monotonic()
        ready = allowed > 0 and _wait_for(self.sock, allowed, write=write)
        patience.waited += time.monotonic() - began
        if not ready:
            raise TimeoutError("the client stopped taking" if write else "the client stopped sending")


def _wait_for(sock: socket.socket, seconds: float, *, write: bool) -> bool:
    """Wait for the socket; whether it became ready."""
    if not hasattr(select, "poll"):
        readable, writable, _ = select.select([] if write else [sock], [sock] if write else [], [], seconds)
        return bool(readable or writable)
    poll = select.poll()
    poll.register(sock, select.POLLOUT if write else select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _patience(settings: ServerSettings) -> Patience:
    return Patience(still=settings.io_timeout, grace=settings.min_rate_grace, rate=settings.min_rate)
