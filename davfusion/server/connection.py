"""One client connection: its requests in turn, and a proper end."""

from __future__ import annotations

import contextlib
import enum
import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from davfusion.server.arrival import Arrival
from davfusion.server.body import Body, ChunkedBody, KnownLengthBody
from davfusion.server.errors import BadRequest, ClientDisconnected
from davfusion.server.exchange import Exchange
from davfusion.server.gateway import Environ, WsgiApp, request_environ
from davfusion.server.head import Fields, HeadParser, RequestHead
from davfusion.server.response import Response, ServerIdentity, refusal
from davfusion.server.settings import ServerSettings
from davfusion.server.stream import SocketStream
from davfusion.server.tls import PLAIN_HTTP_REFUSED, Tls, handshake, speaks_plain_http, tls_environ

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_KEPT_FIELDS = 2 * 1024
_QUICK = 0.002
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
    """Other connections wait for a thread."""
    batching: Callable[[FusionConnection], bool]
    """The leader would begin a request like the one that is to be answered, and finish it with others."""
    before_wait: Callable[[], None]
    """Called by a thread that is about to wait for a client."""


class Turn(enum.Enum):
    """What is next for a connection."""

    REST = "nothing until more comes from the client"
    ANSWER = "a request is there to be answered"
    WORK = "a thread that may take its time has to go on"
    FINISH = "the answer was begun and has to be finished, in any thread that may wait"
    AGAIN = "another request may be at hand"
    CLOSE = "nothing any more"


class FusionConnection:
    """A connection, which at any time belongs to one thread, or to the lobby while nothing is to be done."""

    def __init__(
        self,
        service: Service,
        sock: socket.socket,
        address: tuple[str, int],
        on_close: Callable[[FusionConnection], None],
    ) -> None:
        self.stream = SocketStream(sock, service.settings, before_wait=service.before_wait)
        self.remote_addr, self.remote_port = address
        self.requests_seen = 0
        self.lingering = False
        self.postponed = False
        """It is noted to be attended to again: the lobby does not look at it."""
        self.dawdles = False
        """Its last request kept the leader too long: the next goes to another thread at once."""
        self.resting_since = 0.0
        """When the lobby began to wait for it (time.monotonic)."""
        self._service = service
        self._on_close = on_close
        self._environ = service.environ | {"REMOTE_ADDR": address[0], "REMOTE_PORT": str(address[1])}
        self._fields: Fields | None = None
        self._shared_environ = self._environ
        # Complete from the start, it has no state that a request could leave to the next.
        self._no_body = KnownLengthBody(self.stream, 0)
        self._shaking_hands = service.tls is not None
        self._handshake_since: float | None = None
        self._arrival = Arrival(self.stream, service.parser, service.settings)
        self._unfinished: Exchange | None = None
        self._ended = False
        self._linger_since = self._linger_until = 0.0

    @property
    def socket(self) -> socket.socket:
        return self.stream.sock

    @property
    def unused(self) -> bool:
        """No request has come so far, or one has begun to come."""
        return self.requests_seen == 0 or self._arrival.begun

    @property
    def method(self) -> str:
        """Of the request that is to be answered."""
        head = self._arrival.head
        return head.method if head else ""

    @property
    def body_at_hand(self) -> bool:
        """Whether the request that is to be answered has a body, and all of it is here."""
        head = self._arrival.head
        return head is not None and 0 < head.fields.content_length <= len(self.stream.buffer)

    def deadline(self) -> float:
        """Until when the connection may rest (time.monotonic)."""
        if self.lingering:
            return self._linger_until
        if self._handshake_since is not None:
            return self._handshake_since + self._service.settings.head_timeout
        request_deadline = self._arrival.deadline
        if request_deadline is not None:
            return request_deadline
        return self.resting_since + self._service.settings.idle_timeout

    def receive(self) -> Turn:
        """Take in what has arrived, without waiting for what has not."""
        if self.lingering:
            return self._swallow()
        if self._shaking_hands:
            return Turn.WORK
        try:
            if self._arrival.come(self._fields):
                return Turn.ANSWER
            return Turn.CLOSE if self._arrival.ended else Turn.REST
        except BadRequest as bad:
            return self._refuse_head(bad)
        except OSError as broken:
            log.debug("connection lost client=%s error=%r", self.remote_addr, broken)
            return Turn.CLOSE

    def begin(self) -> Turn:
        """Let the application answer the request that was received. FINISH: it was begun and has to be finished."""
        head = self._arrival.take()
        if head is None:
            return Turn.REST
        self.requests_seen += 1
        service = self._service
        body = self._body(head)
        response = Response(
            self.stream, head, body, service.identity,
            close=not head.fields.keep_alive or service.stopping(), max_drain=service.settings.max_drain,
        )  # fmt: skip
        exchange = Exchange(head, body, response, client=self.remote_addr)
        if exchange.begin(service.app, request_environ(self._environ_of(head.fields), head, body)):
            return self._after(exchange)
        self._unfinished = exchange
        return Turn.FINISH

    def finish(self) -> Turn:
        """Wait for the answer that `begin` left unfinished, and send it."""
        exchange, self._unfinished = self._unfinished, None
        if exchange is None:
            return Turn.REST
        exchange.finish()
        return self._after(exchange)

    def answer(self) -> Turn:
        """Answer the request that was received, however long it takes."""
        turn = self.begin()
        return self.finish() if turn is Turn.FINISH else turn

    def work(self) -> Turn:
        """Go on as far as possible, in a thread that may wait."""
        try:
            if self._shaking_hands and not self._handshake():
                return Turn.REST
        except OSError as broken:
            log.debug("connection lost client=%s error=%r", self.remote_addr, broken)
            return Turn.CLOSE
        while (turn := self.receive()) is Turn.ANSWER:
            follows = self.method in self._service.settings.pooled_methods and not self._service.batching(self)
            began = time.monotonic()
            turn = self.answer()
            self.dawdles = self.dawdles and time.monotonic() - began > _QUICK
            if turn is Turn.CLOSE or self.lingering or self._service.crowded():
                break
            if turn is Turn.REST and not (follows and self.stream.wait_readable(self._service.settings.sticky_wait)):
                break
        return turn

    def is_late(self) -> bool:
        """At the deadline: whether the application is to see that the body did not come; else `end_early`."""
        return self._arrival.give_up_waiting()

    def end_early(self) -> None:
        """Close at the deadline, telling a client that began a request what was wrong."""
        if self._arrival.head_since is not None and not self.lingering:
            log.info("request refused client=%s status=%r", self.remote_addr, _TIMEOUT.status)
            self.stream.send_now(refusal(_TIMEOUT, self._service.identity))
        self.close()

    def close(self) -> None:
        """Close the socket. To be called once, by the owner."""
        if self.stream.closed:
            return
        self.stream.closed = True
        with contextlib.suppress(OSError):
            self.socket.close()
        self._on_close(self)

    def _swallow(self) -> Turn:
        """While lingering: throw away what the client still sends."""
        try:
            size = len(self.socket.recv(64 * 1024))
        except (BlockingIOError, ssl.SSLWantReadError):
            return Turn.REST
        except OSError:
            return Turn.CLOSE
        if not self._service.stopping():
            settings = self._service.settings
            quiet_until = time.monotonic() + settings.linger_timeout
            self._linger_until = min(quiet_until, self._linger_since + settings.max_linger)
        return Turn.REST if size else Turn.CLOSE

    def _refuse_head(self, bad: BadRequest) -> Turn:
        log.info("request refused client=%s status=%r reason=%r", self.remote_addr, bad.status, bad.reason)
        self.stream.send_now(refusal(bad, self._service.identity))
        return self._linger()

    def _handshake(self) -> bool:
        """Go on with the TLS handshake; whether requests can be read now."""
        tls = self._service.tls
        if tls is not None and not isinstance(self.stream.sock, ssl.SSLSocket):
            if speaks_plain_http(self.stream.sock):
                self.stream.send_now(PLAIN_HTTP_REFUSED)
                self._linger()
                return False
            self.stream.sock = tls.wrap(self.stream.sock)
            self._handshake_since = time.monotonic()
        sock = self.stream.sock
        if not isinstance(sock, ssl.SSLSocket) or not handshake(sock):
            return False
        self._shaking_hands = False
        self._handshake_since = None
        self._environ |= tls_environ(sock)
        return True

    def _after(self, exchange: Exchange) -> Turn:
        """What is next when the request was answered."""
        try:
            if self._may_go_on(exchange):
                return Turn.AGAIN if self.stream.has_data() else Turn.REST
            return Turn.CLOSE if self._ended else self._linger()
        except OSError as broken:
            log.debug("connection lost client=%s error=%r", self.remote_addr, broken)
            return Turn.CLOSE

    def _may_go_on(self, exchange: Exchange) -> bool:
        """Whether another request may follow. `_ended` says not even to linger."""
        body, response = exchange.body, exchange.response
        if exchange.whole:
            if not response.close:
                return body.complete or body.drain(self._service.settings.max_drain)
            # A client that asked for the end and has sent everything needs no patience.
            self._ended = not exchange.head.fields.keep_alive and body.complete and not self.stream.buffer
            if self._ended:
                self.stream.say_goodbye()
            return False
        if response.sent and response.status is not None:
            self._ended = True
            if response.until_close:
                self.stream.reset_at_close()
        return False

    def _environ_of(self, fields: Fields) -> Environ:
        """What the environs of all requests with these fields on this connection have in common."""
        if fields is self._fields:
            return self._shared_environ
        environ = self._environ | fields.headers
        if fields.block is not None and len(fields.block) <= _KEPT_FIELDS:
            self._shared_environ, self._fields = environ, fields
        return environ

    def _body(self, head: RequestHead) -> Body:
        fields = head.fields
        if not fields.content_length and not fields.chunked:
            return self._no_body
        invite = self._invite if fields.expects_continue else None
        if fields.chunked:
            return ChunkedBody(self.stream, on_first_read=invite)
        return KnownLengthBody(self.stream, fields.content_length, on_first_read=invite)

    def _invite(self) -> None:
        try:
            self.stream.send(_CONTINUE)
        except OSError as broken:
            raise ClientDisconnected(f"The client left before its request body: {broken}.") from broken

    def _linger(self) -> Turn:
        """Say that nothing more comes from here, and wait in the lobby for the client's end."""
        self.stream.say_goodbye()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return Turn.CLOSE
        self.stream.buffer.clear()
        self.lingering = True
        self._linger_since = time.monotonic()
        self._linger_until = self._linger_since + self._service.settings.linger_timeout
        return Turn.REST
