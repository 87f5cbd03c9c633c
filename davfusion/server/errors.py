"""What can go wrong between the socket and the application."""

from __future__ import annotations


class ClientDisconnected(OSError):
    """The client left or stopped sending before the end of its request, or stopped taking the response.

    Raised by every read of `wsgi.input` that cannot go on, so that a short body is never taken for
    a whole one. Nothing that was read of this body may be committed.
    """


class BadBody(ValueError):
    """The chunked framing of the request body is malformed (RFC 9112 section 7.1).

    Nothing that was read of this body may be committed.
    """


class BadRequest(Exception):
    """A request head that is refused before the application sees it.

    `status` is the status line's code and phrase, `reason` a sentence for the client. After it the
    position in the byte stream is not trusted: the connection is closed.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class ResponseFailed(Exception):
    """The application broke off or contradicted a response whose head has already been sent."""
