"""One large file, up and down, on one connection."""

from __future__ import annotations

import time

from tests.benchmarks.site import Site, Task
from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask, Outcome

_AT_LEAST = 2
_TARGET = "/put/big.bin"


def get(site: Site) -> Task:
    """GET, again and again, at least twice."""
    _compare(site, "/big.bin")

    def measure() -> Outcome:
        outcome = Outcome()
        with Client(site.url) as client:
            request = Ask("GET", "/big.bin").wire(client.host)
            began = time.monotonic()
            while outcome.operations < _AT_LEAST or outcome.seconds < site.seconds:
                client.send(request)
                _expect(client.receive(), (200, site.scale.big))
                _count(outcome, site, began)
        return outcome
    return Task(measure)


def put(site: Site) -> Task:
    """PUT, again and again, at least twice; what has arrived is compared at the end."""
    def measure() -> Outcome:
        outcome = Outcome()
        with Client(site.url) as client:
            head = f"PUT {_TARGET} HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: {site.scale.big}\r\n\r\n".encode()
            began = time.monotonic()
            while outcome.operations < _AT_LEAST or outcome.seconds < site.seconds:
                client.send_file(head, site.files / "big.bin")
                status, _ = client.receive()
                if status not in (200, 201, 204):
                    raise AnswerError(f"PUT {_TARGET}: {status}")
                _count(outcome, site, began)
        return outcome
    return Task(measure, lambda: _compare(site, _TARGET))


def _count(outcome: Outcome, site: Site, began: float) -> None:
    outcome.operations += 1
    outcome.bytes += site.scale.big
    outcome.seconds = time.monotonic() - began


def _expect(got: tuple[int, int], wanted: tuple[int, int]) -> None:
    if got != wanted:
        raise AnswerError(f"status and length are {got} instead of {wanted}")


def _compare(site: Site, path: str) -> None:
    """Every byte that the server gives, against the file."""
    with (site.files / "big.bin").open("rb") as file, Client(site.url) as client:
        client.send(Ask("GET", path).wire(client.host))
        same = True

        def compare(piece: memoryview) -> None:
            nonlocal same
            same = same and piece == file.read(len(piece))

        _expect(client.receive(compare), (200, site.scale.big))
        if not same:
            raise AnswerError(f"{path} has other bytes")
