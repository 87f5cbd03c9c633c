"""Requests that are broken at random: always an answer or a close, and the server goes on."""

from __future__ import annotations

import gc
import random
import re
import threading
import tracemalloc

import pytest

from davfusion.server.connection import FusionConnection
from tests.server.conftest import Running, Start, until

SEEDS = [
    b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world",
    b"PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nT: v\r\n"
    b"\r\n",
    b"PUT /refuse HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"PROPFIND /a%20b/c?q HTTP/1.1\r\nHost: [::1]:80\r\nDepth: 1\r\nIf: (<urn:x>)\r\nContent-Length: 0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"MOVE http://x/a HTTP/1.1\r\nHost: x\r\nDestination: http://x/b\r\n\r\n",
    b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /written HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n",
]
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"%", b"%00", b"/../", b"//", b"\xff\xfe", b"0x", b"_"),
    *(
        b"-1",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n\r\n",
        b"A" * 300,
        b"GET / HTTP/1.1\r\n",
    ),
    *(
        b"HTTP/9.9",
        b";",
        b",",
        b"#",
        b"?",
        b"*",
        b"0\r\n\r\n",
        b"Host: y\r\n",
        b"Expect: 100-continue\r\n",
        b"ffffffff\r\n",
    ),
]
ANSWERS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
GOOD = b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def broken(rng: random.Random) -> bytes:
    data = bytearray(b"".join(rng.choices(SEEDS, k=rng.randint(1, 3))))
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.choice(PIECES)
            case 1:
                del data[at : at + rng.randint(1, 12)]
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                data[at : at + rng.randint(0, 6)] = rng.choice(PIECES)
            case 4:
                end = at + rng.randint(1, 40)
                data[at:at] = data[at:end]
    return bytes(data) or b"\n"


def survive(server: Running, rng: random.Random, count: int) -> set[bytes]:
    """Send broken requests; every connection must come to its end, every byte be part of an answer."""
    seen: set[bytes] = set()
    for number in range(count):
        request = broken(rng)
        with server.connect(timeout=20) as wire:
            half = rng.randrange(len(request)) if rng.random() < 0.3 else len(request)
            try:
                wire.send(request[:half]).send(request[half:])
                wire.sock.shutdown(1)
                received = wire.rest()
            except TimeoutError:
                pytest.fail(f"no end for {request!r}")
            except OSError:
                received = b""
            assert b"Traceback" not in received
            seen.update(statuses(received, request))
        if number % 200 == 0:
            assert server.ask(GOOD).body == b"ok"
    assert server.ask(GOOD).body == b"ok"
    return seen


def statuses(received: bytes, request: bytes) -> list[bytes]:
    """The status codes of a stream that must be nothing but whole responses."""
    found = []
    while received:
        match = ANSWERS.match(received)
        assert match, (request, received[:200])
        head, _, received = received.partition(b"\r\n\r\n")
        if b"\r\nTransfer-Encoding: chunked" in head:
            _, end, received = received.partition(b"0\r\n\r\n")
            assert end, request
        elif length := re.search(rb"\r\nContent-Length: (\d+)", head):
            assert len(received) >= int(length[1]), request
            received = received[int(length[1]) :]
        elif match[1] != b"100":
            received = b""
        found.append(match[1])
    return found


def connections_in_memory() -> int:
    gc.collect()
    return sum(isinstance(thing, FusionConnection) for thing in gc.get_objects())


def few_threads(start: Start) -> Running:
    return start(threads=4, max_threads=4, linger_timeout=0.2, max_connections=50)


@pytest.mark.parametrize("seed", range(4))
def test_broken_requests(start: Start, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    before = connections_in_memory()
    server = few_threads(start)
    seen = survive(server, random.Random(seed), 500)
    assert {b"200", b"400", b"401"} <= seen
    server.end()
    server.app.body_errors.clear()  # the frames of an exception hold what they worked on
    caplog.clear()
    until(lambda: connections_in_memory() <= before)


def test_ten_thousand_broken_requests_leave_nothing_behind(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    before = connections_in_memory()
    server = few_threads(start)
    rng = random.Random(100)
    held: list[int] = []
    tracemalloc.start()
    try:
        for _ in range(10):
            survive(server, rng, 1000)
            server.app.calls.clear()
            server.app.body_errors.clear()
            caplog.clear()
            until(lambda: connections_in_memory() <= before)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # The first thousands fill caches of bounded size, of header names for example.
    assert held[-1] - held[2] < 256 * 1024, held
    assert sum(thread.name.startswith("http-") for thread in threading.enumerate()) <= 8


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes(start: Start, seed: int) -> None:
    server = start(head_timeout=0.3)
    rng = random.Random(seed)
    for _ in range(100):
        with server.connect(timeout=20) as wire:
            wire.send(rng.randbytes(rng.randint(1, 2000)))
            wire.sock.shutdown(1)
            received = wire.rest()
            assert not received or ANSWERS.match(received)
    assert server.ask(GOOD).body == b"ok"
