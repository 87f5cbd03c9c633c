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


def latencies(ports: tuple[int, int], request: bytes, rounds: int = 2000) -> list[float]:
    """Medians, in seconds, of two servers that are asked in turn: what else the machine does slows down both."""
    found: tuple[list[float], list[float]] = ([], [])
    with Wire(("127.0.0.1", ports[0])) as first, Wire(("127.0.0.1", ports[1])) as second:
        asked = [(first, found[0]), (second, found[1])]
        for _ in range(rounds):
            asked.reverse()
            for wire, took in asked:
                began = time.perf_counter()
                assert wire.ask(request).status == 200
                took.append(time.perf_counter() - began)
    return [statistics.median(took) for took in found]


def processor_time(port: int) -> float:
    """Seconds of a processor that a server has used so far."""
    with Wire(("127.0.0.1", port)) as wire:
        return float(wire.ask(b"GET /processor-time HTTP/1.1\r\nHost: x\r\n\r\n").body)


def test_five_hundred_crawlers_delay_nobody() -> None:
    """Neither is an answer later by a tenth, nor is a tenth of the processor spent on them, which would delay all."""
    with contextlib.ExitStack() as stack:
        with on_core(0):
            crawled, left_alone = (int(stack.enter_context(running("serve"))) for _ in range(2))
        stack.enter_context(on_core(-1))
        stack.enter_context(running("crawl", str(crawled), str(CRAWLERS)))
        began, *before = time.perf_counter(), processor_time(crawled), processor_time(left_alone)
        took = [latencies((crawled, left_alone), request) for request in (OK, PUT)]
        ended, *after = time.perf_counter(), processor_time(crawled), processor_time(left_alone)
    assert all(beside / alone < 1.1 for beside, alone in took), took
    spent = [now - then for now, then in zip(after, before, strict=True)]
    assert (spent[0] - spent[1]) / (ended - began) < 0.1, spent


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
