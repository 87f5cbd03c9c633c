"""Clients that send one byte a second: a normal client does not notice them."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator

from tests.server.conftest import Start
from tests.server.processes import running
from tests.server.wire import Wire

OK = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CRAWLERS = 500


@contextlib.contextmanager
def on_core(number: int) -> Iterator[None]:
    """Keep this thread, and the processes that it starts, on one core.

    An answer to another core takes twice the time of one to the same core. Which of them a measurement
    gets must not be the scheduler's choice.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def median_latency(port: int, request: bytes, seconds: float = 0.25) -> float:
    """Of requests one after the other on one connection, in seconds."""
    found = []
    with Wire(("127.0.0.1", port)) as wire:
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            assert wire.ask(request).status == 200
            found.append(time.perf_counter() - began)
    return statistics.median(found)


def test_five_hundred_crawlers_delay_nobody() -> None:
    """Less than a tenth, in the best of alternating rounds: others use this machine too."""
    alone: dict[bytes, list[float]] = {OK: [], PUT: []}
    beside: dict[bytes, list[float]] = {OK: [], PUT: []}

    def ratio(request: bytes) -> float:
        return min(beside[request]) / min(alone[request])

    with contextlib.ExitStack() as stack:
        with on_core(0):
            port = stack.enter_context(running("serve"))
        stack.enter_context(on_core(-1))
        for round_ in range(20):
            for request in (OK, PUT):
                alone[request].append(median_latency(int(port), request))
            with running("crawl", port, str(CRAWLERS)):
                for request in (OK, PUT):
                    beside[request].append(median_latency(int(port), request))
            if round_ >= 3 and ratio(OK) < 1.1 and ratio(PUT) < 1.1:
                break
    assert ratio(OK) < 1.1, (alone, beside)
    assert ratio(PUT) < 1.1, (alone, beside)


def test_crawling_bodies_hold_no_thread(start: Start) -> None:
    server = start(threads=1, max_threads=1)
    with contextlib.ExitStack() as stack:
        crawling = [stack.enter_context(server.connect()) for _ in range(40)]
        for number, wire in enumerate(crawling):
            framing = b"Transfer-Encoding: chunked" if number % 2 else b"Content-Length: 6"
            wire.send(b"PUT /echo HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n").send(b"1")
        assert server.ask(PUT).body.startswith(b"5 ")
        for number, wire in enumerate(crawling):
            wire.send(b"\r\na\r\n0\r\n\r\n" if number % 2 else b"23456")
            assert wire.answer().body.startswith(b"1 " if number % 2 else b"6 ")
        assert len(server.app.calls) == 41
