"""One request and what the application answers, also when it answers late."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable

from davfusion.server.body import Body
from davfusion.server.errors import BadBody, ClientDisconnected, ResponseFailed
from davfusion.server.gateway import Environ, WsgiApp, begin, finish
from davfusion.server.head import RequestHead
from davfusion.server.response import Response

log = logging.getLogger(__name__)


class Exchange:
    """A request, its body and its response. Used by one thread at a time."""

    __slots__ = ("_client", "_late", "body", "head", "response", "whole")

    def __init__(self, head: RequestHead, body: Body, response: Response, *, client: str) -> None:
        self.head = head
        self.body = body
        self.response = response
        self.whole = False
        """The client got a whole response."""
        self._client = client
        self._late: Iterable[bytes] | None = None

    def begin(self, app: WsgiApp, environ: Environ) -> bool:
        """Let the application answer; whether it has. If not, `finish` waits for the answer."""
        try:
            self._late = begin(app, environ, self.response)
            self.whole = self._late is None
        except Exception as error:
            self._failed(error)
        return self._late is None

    def finish(self) -> None:
        """Wait for the late answer and send it."""
        late, self._late = self._late, None
        if late is None:
            return
        try:
            finish(late, self.response)
            self.whole = True
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        head = self.head
        if isinstance(error, ClientDisconnected | BadBody):
            log.info("request broke off client=%s method=%s target=%r reason=%r",
                     self._client, head.method, head.target, str(error))  # fmt: skip
            timed_out = isinstance(error.__cause__, TimeoutError)
            self._refuse("408 Request Timeout" if timed_out else "400 Bad Request", str(error))
            return
        if isinstance(error, ResponseFailed):
            log.error("response failed method=%s target=%r reason=%s", head.method, head.target, error)
        else:
            log.error("request failed method=%s target=%r", head.method, head.target, exc_info=error)
        self._refuse("500 Internal Server Error", "The server failed; its log says why.")

    def _refuse(self, status: str, reason: str) -> None:
        if self.response.sent:
            return
        with contextlib.suppress(ClientDisconnected):
            self.response.refuse(status, reason)
        self.whole = True
