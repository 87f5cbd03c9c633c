"""One client connection: its requests in turn, and a proper end."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from davfusion.server.body import Body, ChunkedBody, KnownLengthBody
from davfusion.server.errors import BadBody, BadRequest, ClientDisconnected, ResponseFailed
from davfusion.server.gateway import Environ, WsgiApp, request_environ, run
from davfusion.server.head import HeadParser, RequestHead
from davfusion.server.response import Response, ServerIdentity, refusal
from davfusion.server.settings import ServerSettings
from davfusion.server.stream import SocketStream
from davfusion.server.tls import PLAIN_HTTP_REFUSED, Tls, handshake, speaks_plain_http, tls_environ

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_HEAD_END = b"\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)
_TIMEOUT = BadRequest("408 Request Timeout", "The request head did not arrive in time.")


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections of a server share."""

    app: WsgiApp
    settings: ServerSettings
    environ: Environ
    parser: HeadParser
    identity: ServerIdentity
    tls: Tls | None
    stopping: Callable[[], bool]
    """No further request is to be invited."""
    crowded: Callable[[], bool]
    """Other connections wait for a worker."""


class FusionConnection:
    """A connection, which at any time belongs to one worker, or to the lobby while nothing is to be done.

    `communicate` and `close` are what cheroot's worker threads call.
    """

    def __init__(
        self, service: Service, sock: socket.socket, address: tuple[str, int], on_close: Callable[[str], None]
    ) -> None:
        self.rfile = SocketStream(sock, service.settings)
        self.remote_addr, self.remote_port = address
        self.requests_seen = 0
        self.lingering = False
        self.eager = False
        """More requests may be at hand: to be served again as soon as a worker is free."""
        self._service = service
        self._on_close = on_close
        self._environ = service.environ | {"REMOTE_ADDR": address[0], "REMOTE_PORT": str(address[1])}
        self._shaking_hands = service.tls is not None
        self._head_since: float | None = None
        self._blank_skipped = False
        self._ended = False
        self._linger_since = self._linger_until = 0.0

    @property
    def socket(self) -> socket.socket:
        return self.rfile.sock

    @property
    def unused(self) -> bool:
        """No request has come so far, or one has begun to come."""
        return self.requests_seen == 0 or self._head_since is not None

    def deadline(self, parked_at: float) -> float:
        """Until when the connection may wait in the lobby, where it came at `parked_at` (time.monotonic)."""
        if self.lingering:
            return self._linger_until
        if self._head_since is not None:
            return self._head_since + self._service.settings.head_timeout
        return parked_at + self._service.settings.idle_timeout

    def communicate(self) -> bool:
        """Serve what has arrived, without waiting for what has not. False: close the connection."""
        self.eager = False
        try:
            if self._shaking_hands and not self._handshake():
                return True
            return self._serve()
        except BadRequest as bad:
            log.info("request refused client=%s status=%r reason=%r", self.remote_addr, bad.status, bad.reason)
            self.rfile.send_now(refusal(bad, self._service.identity))
            return self._linger()
        except OSError as broken:
            log.debug("connection lost client=%s error=%r", self.remote_addr, broken)
            return False

    def gather(self) -> bool:
        """In the lobby: take in more of a request head; whether a worker has to go on now."""
        if self._head_since is None or self._shaking_hands:
            return True
        buffer = self.rfile.buffer
        try:
            while True:
                start = max(len(buffer) - 3, 0)
                size = self.rfile.fill()
                if size is None:
                    self._service.parser.check_partial(buffer)
                    return False
                if size == 0 or buffer.find(_HEAD_END, start) >= 0 or len(buffer) > self._service.settings.max_head:
                    return True
        except (OSError, BadRequest):
            return True

    def swallow(self) -> bool:
        """While lingering: throw away what the client still sends. False: close the connection."""
        try:
            size = len(self.socket.recv(64 * 1024))
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        if not self._service.stopping():
            settings = self._service.settings
            quiet_until = time.monotonic() + settings.linger_timeout
            self._linger_until = min(quiet_until, self._linger_since + settings.max_linger)
        return size > 0

    def expire(self) -> None:
        """Close, telling a client that began a request what was wrong."""
        if self._head_since is not None and not self.lingering and not self._shaking_hands:
            log.info("request refused client=%s status=%r", self.remote_addr, _TIMEOUT.status)
            self.rfile.send_now(refusal(_TIMEOUT, self._service.identity))
        self.close()

    def close(self) -> None:
        """Close the socket. To be called once, by the owner."""
        if self.rfile.closed:
            return
        self.rfile.closed = True
        with contextlib.suppress(OSError):
            self.socket.close()
        self._on_close(self.remote_addr)

    def _handshake(self) -> bool:
        """Go on with the TLS handshake; whether requests can be read now."""
        tls = self._service.tls
        if tls is not None and not isinstance(self.rfile.sock, ssl.SSLSocket):
            if speaks_plain_http(self.rfile.sock):
                self.rfile.send_now(PLAIN_HTTP_REFUSED)
                self._linger()
                return False
            self.rfile.sock = tls.wrap(self.rfile.sock)
            self._head_since = time.monotonic()
        sock = self.rfile.sock
        if not isinstance(sock, ssl.SSLSocket) or not handshake(sock):
            return False
        self._shaking_hands = False
        self._head_since = None
        self._environ |= tls_environ(sock)
        return True

    def _serve(self) -> bool:
        while True:
            raw = self._take_head()
            if raw is None:
                return not self._ended
            self.requests_seen += 1
            head = self._service.parser.parse(raw)
            if not self._exchange(head):
                return not self._ended and self._linger()
            if self._service.crowded():
                self.eager = self.rfile.has_data()
                return True
            if not self.rfile.wait_readable(self._service.settings.sticky_wait):
                return True

    def _take_head(self) -> bytearray | None:
        """The next request head; None where it is not all there, or `_ended` where none will come."""
        buffer = self.rfile.buffer
        start = 0
        while True:
            if not self._blank_skipped and buffer.startswith(b"\r\n"):
                # RFC 9112 section 2.2: some clients send one line end too many after a body.
                self._blank_skipped = True
                del buffer[:2]
            end = buffer.find(_HEAD_END, start)
            if end >= 0:
                head = buffer[:end]
                del buffer[: end + 4]
                self._head_since = None
                self._blank_skipped = False
                return head
            if buffer:
                self._service.parser.check_partial(buffer)
            start = max(len(buffer) - 3, 0)
            size = self.rfile.fill()
            if size is None:
                if self._head_since is None and buffer:
                    self._head_since = time.monotonic()
                return None
            if size == 0:
                self._ended = True
                return None

    def _exchange(self, head: RequestHead) -> bool:
        """One request and its response; whether another may follow. `_ended` says not even to linger."""
        service = self._service
        self.rfile.incoming.reset()
        self.rfile.outgoing.reset()
        body = self._body(head)
        response = Response(
            self.rfile, head, body, service.identity,
            close=not head.keep_alive or service.stopping(), max_drain=service.settings.max_drain,
        )  # fmt: skip
        if self._respond(head, body, response):
            if not response.close:
                return body.complete or body.drain(service.settings.max_drain)
            # A client that asked for the end and has sent everything needs no patience.
            self._ended = not head.keep_alive and body.complete and not self.rfile.buffer
            if self._ended:
                self._say_goodbye()
            return False
        if response.sent and response.status is not None:
            self._ended = True
            if response.until_close:
                self._reset()
        return False

    def _respond(self, head: RequestHead, body: Body, response: Response) -> bool:
        """Let the application answer; whether the client got a whole response."""
        try:
            run(self._service.app, request_environ(self._environ, head, body), response)
            return True
        except (ClientDisconnected, BadBody) as error:
            log.info("request broke off client=%s method=%s target=%r reason=%r",
                     self.remote_addr, head.method, head.target, str(error))  # fmt: skip
            timed_out = isinstance(error.__cause__, TimeoutError)
            return self._refuse(response, "408 Request Timeout" if timed_out else "400 Bad Request", str(error))
        except ResponseFailed as error:
            log.error("response failed method=%s target=%r reason=%s", head.method, head.target, error)
        except Exception:
            log.exception("request failed method=%s target=%r", head.method, head.target)
        return self._refuse(response, "500 Internal Server Error", "The server failed; its log says why.")

    def _refuse(self, response: Response, status: str, reason: str) -> bool:
        if response.sent:
            return False
        with contextlib.suppress(ClientDisconnected):
            response.refuse(status, reason)
        return True

    def _body(self, head: RequestHead) -> Body:
        invite = self._invite if head.expects_continue else None
        if head.chunked:
            return ChunkedBody(self.rfile, on_first_read=invite)
        return KnownLengthBody(self.rfile, head.content_length, on_first_read=invite)

    def _invite(self) -> None:
        try:
            self.rfile.send(_CONTINUE)
        except OSError as broken:
            raise ClientDisconnected(f"The client left before its request body: {broken}.") from broken

    def _linger(self) -> bool:
        """Say that nothing more comes from here, and wait in the lobby for the client's end."""
        self._say_goodbye()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        self.rfile.buffer.clear()
        self.lingering = True
        self._linger_since = time.monotonic()
        self._linger_until = self._linger_since + self._service.settings.linger_timeout
        return True

    def _say_goodbye(self) -> None:
        """End a TLS stream so that the client knows that nothing was cut off."""
        if isinstance(self.socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.socket.unwrap()

    def _reset(self) -> None:
        """Make the close visible as a failure where the end of the stream would look like success."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
