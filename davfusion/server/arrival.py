"""A request on its way in: its head, and the beginning of its body."""

from __future__ import annotations

import time

from davfusion.server.head import Fields, HeadParser, RequestHead
from davfusion.server.settings import ServerSettings
from davfusion.server.stream import SocketStream

_HEAD_END = b"\r\n\r\n"
_BODY_AHEAD = 16 * 1024


class Arrival:
    """Takes in requests as far as they have come, without waiting, so that no thread waits for slow clients.

    Of a body as much is awaited as fits into a small buffer: a client that crawls cannot hold a thread with
    it. One that awaits `100 Continue` is not kept waiting. Used by one thread at a time.
    """

    def __init__(self, stream: SocketStream, parser: HeadParser, settings: ServerSettings) -> None:
        self.head: RequestHead | None = None
        """Of the request that is here or, where its body is awaited, nearly so."""
        self.head_since: float | None = None
        """When a head began to come that is not complete (time.monotonic)."""
        self.ended = False
        """The client sends nothing any more."""
        self._stream = stream
        self._parser = parser
        self._head_timeout = settings.head_timeout
        self._body_since: float | None = None
        self._blank_skipped = False

    @property
    def begun(self) -> bool:
        """Whether a request, or a part of one, is here."""
        return self.head is not None or self.head_since is not None

    @property
    def deadline(self) -> float | None:
        """Until when more of the request has to come (time.monotonic); None before it began."""
        if self._body_since is not None:
            return self._body_since + self._stream.incoming.allowance()
        return None if self.head_since is None else self.head_since + self._head_timeout

    def come(self, known: Fields | None) -> bool:
        """Take in what has arrived; whether a request is there to be answered.

        `known` are the fields of an earlier request. Raises BadRequest, or OSError where the connection broke.
        """
        return (self.head is not None or self._head_came(known)) and self._body_came()

    def take(self) -> RequestHead | None:
        """The head of the request that is there; the next one can come."""
        head, self.head = self.head, None
        self._body_since = None
        return head

    def give_up_waiting(self) -> bool:
        """At the deadline: whether the request is to be answered with the body as it is."""
        if self._body_since is None:
            return False
        self._stream.incoming.exhaust()
        return True

    def _head_came(self, known: Fields | None) -> bool:
        stream = self._stream
        buffer = stream.buffer
        if not buffer:
            data = stream.take()
            if data is None:
                return False
            if data.endswith(_HEAD_END) and data.find(_HEAD_END) == len(data) - 4 and data[0] != 0x0D:
                return self._begin(data[:-4], known)
            self.ended = not data
            buffer += data
        start = 0
        while not self.ended:
            if not self._blank_skipped and buffer.startswith(b"\r\n"):
                # RFC 9112 section 2.2: some clients send one line end too many after a body.
                self._blank_skipped = True
                del buffer[:2]
            end = buffer.find(_HEAD_END, start)
            if end >= 0:
                raw = bytes(buffer[:end])
                del buffer[: end + 4]
                return self._begin(raw, known)
            if buffer:
                self._parser.check_partial(buffer)
            start = max(len(buffer) - 3, 0)
            size = stream.fill()
            if size is None:
                if self.head_since is None and buffer:
                    self.head_since = time.monotonic()
                return False
            self.ended = size == 0
        return False

    def _begin(self, raw: bytes, known: Fields | None) -> bool:
        """Begin a request, given its head without the blank line; True."""
        self.head_since = None
        self._blank_skipped = False
        self.head = self._parser.parse(raw, known)
        self._stream.incoming.reset()
        self._stream.outgoing.reset()
        return True

    def _body_came(self) -> bool:
        if self.head is None:
            return False
        fields = self.head.fields
        if not (fields.content_length or fields.chunked) or fields.expects_continue:
            return True
        incoming = self._stream.incoming
        while not self._enough(fields):
            size = self._stream.fill()
            now = time.monotonic()
            if self._body_since is not None:
                incoming.waited += now - self._body_since
            self._body_since = now
            if size is None:
                return incoming.allowance() <= 0
            if size == 0:
                return True
            incoming.moved += size
        return True

    def _enough(self, fields: Fields) -> bool:
        buffer = self._stream.buffer
        if fields.chunked:
            # The last chunk and the trailers end with an empty line, whatever is in them.
            return len(buffer) >= _BODY_AHEAD or _HEAD_END in buffer
        return len(buffer) >= min(fields.content_length, _BODY_AHEAD)
