"""Answers that the application gives late: the leader begins several requests and then finishes them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.app import ProbeApp
from tests.server.conftest import Running, Start, until
from tests.server.wire import Wire


class Late:
    """A late result that waits for its application and says which thread asked for it."""

    is_late = True

    def __init__(self, app: LateApp, start_response: Any, text: bytes) -> None:
        self.app, self.start_response, self.text = app, start_response, text
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        with self.app.lock:
            self.app.waiting += 1
        assert self.app.release.wait(30)
        self.app.finished_by.append(threading.get_ident())
        if self.text == b"boom":
            raise ValueError("late failure")
        self.start_response("200 OK", [("Content-Length", str(len(self.text)))])
        return iter([self.text])

    def close(self) -> None:
        self.closed += 1


class LateApp(ProbeApp):
    """Its `/late` reads the body at once and answers with it late."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.waiting = 0
        self.begun_by: list[int] = []
        self.finished_by: list[int] = []
        self.results: list[Late] = []

    def do_late(self, environ: dict[str, Any], start_response: Any) -> Late:
        body = environ["wsgi.input"].read()
        self.begun_by.append(threading.get_ident())
        self.results.append(Late(self, start_response, body))
        return self.results[-1]


@pytest.fixture
def server(start: Start) -> Running:
    return start(LateApp())


def put(body: bytes, *, method: bytes = b"PUT", fields: bytes = b"") -> bytes:
    return b"%b /late HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (method, len(body), fields, body)


OK = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def connections(server: Running, count: int) -> Iterator[list[Wire]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


def test_each_gets_its_own_answer_and_may_go_on(server: Running) -> None:
    server.app.release.set()
    with connections(server, 12) as wires:
        for turn in range(5):
            for number, wire in enumerate(wires):
                wire.send(put(b"%d in %d" % (number, turn)))
            for number, wire in enumerate(wires):
                assert wire.answer().body == b"%d in %d" % (number, turn)
        for wire in wires:
            assert wire.ask(OK).body == b"ok"
    assert [result.closed for result in server.app.results] == [1] * 60


def test_requests_that_come_at_once_on_one_connection_are_answered_in_order(server: Running) -> None:
    server.app.release.set()
    with server.connect() as wire:
        wire.send(put(b"one") + put(b"two") + OK + put(b"three", fields=b"Connection: close\r\n"))
        assert [wire.answer().body for _ in range(4)] == [b"one", b"two", b"ok", b"three"]
        assert wire.ended()


def test_whoever_reads_is_served_while_answers_are_late(server: Running) -> None:
    """The leader that waits for one of them is deposed; the others that it began are finished by somebody else."""
    with connections(server, 10) as wires:
        for wire in wires:
            wire.send(put(b"x"))
        until(lambda: server.app.waiting >= 1)
        took = []
        with server.connect() as reader:
            for _ in range(50):
                began = time.perf_counter()
                assert reader.ask(OK).body == b"ok"
                took.append(time.perf_counter() - began)
        assert max(took) < 1.0
        until(lambda: len(server.app.begun_by) == 10)
        assert server.app.finished_by == []
        server.app.release.set()
        for wire in wires:
            assert wire.answer().body == b"x"
            assert wire.ask(OK).body == b"ok"


def test_a_client_that_left_meanwhile_hurts_nobody(server: Running) -> None:
    with connections(server, 4) as wires:
        for number, wire in enumerate(wires):
            wire.send(put(b"%d" % number))
        until(lambda: len(server.app.begun_by) == 4)
        wires[0].__exit__(None, None, None)
        wires[2].__exit__(None, None, None)
        server.app.release.set()
        assert wires[1].answer().body == b"1" and wires[3].answer().body == b"3"
        until(lambda: len(server.app.finished_by) == 4)
        until(lambda: all(result.closed == 1 for result in server.app.results))
    assert server.ask(OK).body == b"ok"


def test_a_late_failure_is_answered_and_stays_alone(server: Running) -> None:
    server.app.release.set()
    with connections(server, 3) as wires:
        for wire, body in zip(wires, (b"a", b"boom", b"c"), strict=True):
            wire.send(put(body))
        assert [wire.answer().status for wire in wires] == [200, 500, 200]
        assert wires[1].ended()
    until(lambda: [result.closed for result in server.app.results] == [1, 1, 1])


def test_late_answers_to_requests_that_a_worker_serves(server: Running) -> None:
    """Bodies that are not wholly here, and methods that no leader begins."""
    server.app.release.set()
    with connections(server, 3) as wires:
        wires[0].send(put(b"y" * 200_000))
        wires[1].send(put(b"z", method=b"PROPPATCH"))
        wires[2].send(put(b"w", fields=b"Expect: 100-continue\r\n"))
        assert wires[0].answer().body == b"y" * 200_000
        assert wires[1].answer().body == b"z"
        assert wires[2].answer().body == b"w"


def test_stop_finishes_what_was_begun(server: Running) -> None:
    with connections(server, 5) as wires:
        for wire in wires:
            wire.send(put(b"x"))
        until(lambda: len(server.app.begun_by) == 5)
        server.stop.set()
        server.app.release.set()
        for wire in wires:
            assert wire.answer().body == b"x"
            assert wire.ended()
        server.end()
