"""The way to an S3 server that is far away: every request takes longer, and is counted with what was sent."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.clients.counting import RequestCount, counted
from tests.proxy import Proxy, tcp_proxy

LATENCY = 0.03
"""Seconds that a request takes longer, both ways together."""
_TRIPS = 21
_LEASE = "/lease.json"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over a link in some time."""

    requests: int
    """All but those about the lease, which come by the clock and not by the work."""
    reads: int
    """Of them, those for the bytes of an object."""
    sent: int
    """Bytes to the store, heads of requests included."""


class Link:
    """A way to the store that one server uses alone."""

    def __init__(self, proxy: Proxy, requests: RequestCount) -> None:
        self._proxy, self._requests = proxy, requests
        self._sent = 0
        self.endpoint = proxy.endpoint

    def take(self) -> Traffic:
        """What went since the last call."""
        lines = [line for line in self._requests.take() if not line.partition("?")[0].endswith(_LEASE)]
        before, self._sent = self._sent, self._proxy.sent()
        return Traffic(len(lines), sum(map(_is_read, lines)), self._sent - before)

    def round_trip(self) -> float:
        """Seconds that a request takes that the store refuses at once, in the middle of several."""
        connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"), timeout=60)
        with contextlib.closing(connection):
            return statistics.median(_ask(connection) for _ in range(_TRIPS))


@contextlib.contextmanager
def far(port: int, folder: Path) -> Iterator[Link]:
    """A link to a server on a port of this machine; `folder` takes the list of requests."""
    with counted(port, folder) as requests:
        counting_port = int(requests.endpoint.rpartition(":")[2])
        with tcp_proxy(counting_port, latency=LATENCY / 2) as proxy:
            yield Link(proxy, requests)


def _ask(connection: http.client.HTTPConnection) -> float:
    began = time.monotonic()
    connection.request("HEAD", "/")
    connection.getresponse().read()
    return time.monotonic() - began


def _is_read(line: str) -> bool:
    """GET of a key; that of a bucket is a listing."""
    method, _, target = line.partition(" ")
    return method == "GET" and "/" in target.partition("?")[0].strip("/")
