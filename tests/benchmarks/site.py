"""One server as a row meets it: where it is, how load is put on it, and what its answers must be."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.data import Scale
from tests.benchmarks.servers import Server
from tests.benchmarks.wire import AnswerError
from tests.benchmarks.work import Ask, Outcome, Work

Drive = Callable[[str, Work, float], Outcome]


@dataclass(frozen=True, slots=True)
class Task:
    """What a row does on one server, once the server was found to answer rightly.

    Only `measure` is measured; `check` looks at what it left and cleans up. Both raise AnswerError.
    """

    measure: Callable[[], Outcome]
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Site:
    """A server under test. `drive` is the load generator, `exact` one that ends with whole requests."""

    server: Server
    scale: Scale
    files: Path
    """The same files that the server serves, for comparing."""
    seconds: float
    drive: Drive
    exact: Drive

    @property
    def url(self) -> str:
        """Without a `/` at its end."""
        return self.server.url

    def look(self, ask: Ask, *statuses: int) -> bytes:
        """The body of one answer, by the standard library's client. Raises AnswerError for another status."""
        connection = self._connect()
        try:
            connection.request(ask.method, ask.path, body=ask.body or None, headers=dict(ask.headers))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status not in statuses:
            raise AnswerError(f"{ask.method} {ask.path}: {answer.status} {body[:200]!r}")
        return body

    def warm_up(self) -> None:
        """A few answers of every kind, on several connections."""
        for number in range(10):
            self.look(Ask("GET", f"/small/{number:04}.bin"), 200)
            self.look(Ask("PROPFIND", "/", (("Depth", "1"),)), 207)

    def _connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        assert address.hostname is not None
        if address.scheme == "http":
            return http.client.HTTPConnection(address.hostname, address.port, timeout=120)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(address.hostname, address.port, timeout=120, context=context)
