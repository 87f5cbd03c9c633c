"""Who serves: requests that wait do not stop others, and no thread more than needed exists."""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import threading
import time
from pathlib import Path

import pytest

from davfusion.server import ServerSettings, serve
from tests.server.app import BIG, ProbeApp
from tests.server.conftest import Running, Start, until
from tests.server.wire import Wire

OK = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def server_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("http-")]


def latencies(server: Running, count: int) -> list[float]:
    """Seconds that each of some small requests takes, one after the other on one connection."""
    found = []
    with server.connect() as wire:
        for _ in range(count):
            began = time.perf_counter()
            assert wire.ask(OK).body == b"ok"
            found.append(time.perf_counter() - began)
    return found


def test_requests_that_block_in_the_application_do_not_stop_others(start: Start) -> None:
    server = start()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(12)]
        for number, wire in enumerate(held):
            wire.send(HOLD if number % 2 else HOLD.replace(b"GET", b"POST"))
        # While they come in, each that the leader begins costs the others its patience, once.
        until(lambda: len(server.app.calls) == len(held), seconds=5)
        took = latencies(server, 100)
        assert statistics.median(took) < 0.05
        assert max(took) < 1.0
        server.app.release.set()
        for wire in held:
            assert wire.answer().body == b"held"
            assert wire.ask(OK).body == b"ok"


def test_clients_that_do_not_take_their_answer_do_not_stop_others(start: Start) -> None:
    server = start()
    with contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(server.connect()) for _ in range(10)]
        for number, wire in enumerate(greedy):
            wire.send(get("/big" if number % 2 else f"/file?0,{BIG},file") * 3)
        until(lambda: len(server.app.calls) >= len(greedy))
        took = latencies(server, 100)
        assert statistics.median(took) < 0.05
        assert max(took) < 1.0
        for wire in greedy:
            for _ in range(3):
                assert len(wire.answer().body) == BIG


def test_more_blocking_requests_than_threads_wait_their_turn(start: Start) -> None:
    server = start(threads=1, max_threads=3)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(8)]
        for wire in wires:
            wire.send(HOLD)
        until(lambda: len(server.app.calls) == 3)
        server.app.release.set()
        for wire in wires:
            assert wire.answer().body == b"held"
    assert len(server.app.calls) == 8


def test_slow_uploads_leave_threads_to_others(start: Start) -> None:
    """More of them than threads, each past what is taken in ahead; who reads is served, also where it blocks."""
    server = start(threads=1, max_threads=8)
    body = b"a" * 40_000
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(server.connect()) for _ in range(20)]
        for wire in uploads:
            wire.send(b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n" + body[:20_000])
        until(lambda: len(server.app.calls) == 6)
        reader = stack.enter_context(server.connect())
        reader.send(HOLD)
        assert server.app.entered.wait(5)
        assert max(latencies(server, 100)) < 1.0
        assert len(server.app.calls) == 107
        server.app.release.set()
        assert reader.answer().body == b"held"
        for wire in uploads:
            wire.send(body[20_000:])
            assert wire.answer().body.startswith(b"40000 ")


def test_a_pipelining_client_shares_the_leader(start: Start) -> None:
    """A request that arrives while another connection holds hundreds is answered next."""

    class Meddling(ProbeApp):
        def do_meddle(self, environ, start_response):
            other.send(get("/other"))
            return self.do_ok(environ, start_response)

    app = Meddling()
    server = start(app)
    with server.connect() as pipelining, server.connect() as other:
        assert other.ask(OK).status == 200
        app.calls.clear()
        pipelining.send(OK * 50 + get("/meddle") + OK * 300)
        assert other.answer().status == 200
        for _ in range(351):
            assert pipelining.answer().status == 200
    order = [path for _, path in app.calls]
    assert order.index("/other") - order.index("/meddle") <= 3


def test_threads_end_when_there_is_nothing_to_do(start: Start) -> None:
    before = len(server_threads())
    server = start(threads=2, thread_idle=0.1)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(20)]
        for wire in wires:
            wire.send(HOLD)
        until(lambda: len(server.app.calls) == 20)
        assert len(server_threads()) - before >= 20
        server.app.release.set()
        for wire in wires:
            assert wire.answer().body == b"held"
        # The leader, two that are kept, who watches the leader, and who waits for the stop.
        until(lambda: len(server_threads()) - before <= 5)
        for wire in wires:
            assert wire.ask(OK).body == b"ok"


def test_small_requests_need_one_thread(start: Start) -> None:
    before = len(server_threads())
    server = start()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(30)]
        for wire in wires:
            assert wire.ask(OK).body == b"ok"
    workers = [thread for thread in server_threads() if thread.name not in ("http-watch", "http-stop")]
    assert len(workers) - before <= 2


def switches() -> int:
    """How often the threads of the servers in this process gave up the processor by themselves."""
    total = 0
    for thread in server_threads():
        try:
            status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        except OSError:  # it has just ended
            return -1
        total += int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
    return total


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not count wake-ups")
def test_an_idle_server_sleeps(server: Running) -> None:
    assert server.ask(OK).body == b"ok"

    def asleep() -> bool:
        before = switches()
        time.sleep(0.7)
        return switches() == before >= 0

    until(asleep)
    assert server.ask(OK).body == b"ok"


def test_an_application_may_end_the_server() -> None:
    for method in ("GET", "PUT"):
        up, url = threading.Event(), []

        def app(environ, start_response):
            raise SystemExit(7)

        def ready(address: str, url=url, up=up) -> None:
            url.append(address)
            up.set()

        raised: list[BaseException] = []

        def run(ready=ready, raised=raised) -> None:
            try:
                serve(app, ServerSettings(port=0), ready=ready, stop=threading.Event())
            except SystemExit as end:
                raised.append(end)

        thread = threading.Thread(target=run)
        thread.start()
        assert up.wait(10)
        with Wire(("127.0.0.1", int(url[0].rsplit(":", 1)[1].strip("/")))) as wire:
            wire.send(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert wire.ended()
        thread.join(10)
        assert not thread.is_alive()
        assert raised[0].code == 7


class Dawdling(ProbeApp):
    """Takes as long as it is told, which is about as long as a leader is waited for."""

    def do_dawdle(self, environ, start_response):
        time.sleep(int(environ["QUERY_STRING"]) / 1000)
        return self.do_environ(environ, start_response)


def test_a_connection_that_keeps_leaders_waiting_is_not_led_any_more(start: Start) -> None:
    """Each leader that is deposed costs all others its patience; one client brings that about once, not every time."""
    leaders: list[int] = []

    class Noting(Dawdling):
        def do_ok(self, environ, start_response):
            leaders.append(threading.get_ident())
            return super().do_ok(environ, start_response)

    server = start(Noting())
    with server.connect() as slow, server.connect() as quick:
        for _ in range(20):
            slow.send(get("/dawdle?40"))
            for _ in range(20):
                assert quick.ask(OK).body == b"ok"
            assert slow.answer().status == 200
        changes = sum(a != b for a, b in itertools.pairwise(leaders))
        assert changes <= 4, changes
        # Quick again, it is trusted again.
        for _ in range(3):
            assert slow.ask(OK).body == b"ok"
        del leaders[:]
        for _ in range(5):
            assert slow.ask(OK).body == b"ok"
            assert quick.ask(OK).body == b"ok"
        assert len(set(leaders)) == 1


def test_leaders_are_deposed_at_any_moment(start: Start) -> None:
    """Each client gets its own answers, in order, while leaders come and go; nothing is lost or served twice."""
    server = start(Dawdling(), threads=2, max_threads=10)
    failures: list[BaseException] = []
    asked = [0] * 12

    def client(number: int) -> None:
        rng = random.Random(number)
        deadline = time.monotonic() + 4
        try:
            while time.monotonic() < deadline:
                with server.connect() as wire:
                    for _ in range(rng.randint(1, 20)):
                        asked[number] += talk(wire, rng, f"{number}-{asked[number]}")
        except BaseException as error:
            failures.append(error)

    def talk(wire: Wire, rng: random.Random, mark: str) -> int:
        kind = rng.randrange(4)
        if kind == 0:
            assert wire.ask(OK).body == b"ok"
            return 1
        if kind == 1:
            body = mark.encode() * rng.randint(0, 2000)
            head = b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            half = rng.randrange(len(body) + 1)
            wire.send(head + body[:half]).send(body[half:])
            assert wire.answer().body.startswith(b"%d " % len(body))
            return 1
        count = rng.randint(1, 3)
        for each in range(count):
            wire.send(b"GET /dawdle?%d HTTP/1.1\r\nHost: x\r\nX-Mark: %b.%d\r\n\r\n"
                      % (rng.randint(0, 9), mark.encode(), each))  # fmt: skip
        for each in range(count):
            assert f'"HTTP_X_MARK": "{mark}.{each}"'.encode() in wire.answer().body
        return count

    clients = [threading.Thread(target=client, args=(number,)) for number in range(len(asked))]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(30)
    assert failures == []
    assert len(server.app.calls) == sum(asked) > 200
