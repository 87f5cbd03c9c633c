"""Connections: reuse, pipelining, crowds, slow clients and the end of the server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from davfusion.server import ServerSettings
from tests.server.conftest import Running, Start, until
from tests.server.wire import Wire

OK = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


def with_headers(headers: str, version: str = "1.1") -> bytes:
    return f"GET /ok HTTP/{version}\r\nHost: x\r\n{headers}\r\n".encode()


def refuses_connections(server: Running) -> bool:
    try:
        Wire(server.address, timeout=1).sock.close()
    except OSError:
        return True
    return False


def test_a_connection_is_reused(server: Running) -> None:
    with server.connect() as wire:
        for pause in (0, 0, 0.05, 0, 0.05):
            time.sleep(pause)
            answer = wire.ask(OK)
            assert answer.body == b"ok"
            assert "connection" not in answer.headers


@pytest.mark.parametrize("token", ["close", "Close", "keep-alive, CLOSE", "x, close ,y"])
def test_close_is_a_token(server: Running, token: str) -> None:
    with server.connect() as wire:
        assert wire.ask(with_headers(f"Connection: {token}\r\n")).headers["connection"] == "close"
        assert wire.ended()


def test_http_1_0(server: Running) -> None:
    with server.connect() as wire:
        answer = wire.ask(with_headers("Connection: Keep-Alive\r\n", "1.0"))
        assert answer.headers["connection"] == "keep-alive"
        assert wire.ask(with_headers("", "1.0")).headers["connection"] == "close"
        assert wire.ended()
    assert server.ask(b"GET /ok HTTP/1.0\r\n\r\n").status == 200


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
    with server.connect() as wire:
        wire.send(b"".join(post % (n, b"a" * n) for n in range(60)) + OK)
        for n in range(60):
            assert wire.answer().body.startswith(b"%d " % n)
        assert wire.answer().body == b"ok"


def test_what_is_pipelined_after_a_close_is_not_served(server: Running) -> None:
    with server.connect() as wire:
        assert wire.ask(with_headers("Connection: close\r\n") + OK).status == 200
        assert wire.ended()
    assert len(server.app.calls) == 1


def test_more_connections_than_threads(start: Start) -> None:
    server = start(threads=2, max_threads=2)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(40)]
        for _ in range(3):
            for wire in wires:
                wire.send(OK)
            for wire in wires:
                assert wire.answer().body == b"ok"


def test_silent_and_slow_connections_hold_no_thread(start: Start) -> None:
    """More of them than threads, of each kind; a normal client does not notice."""
    server = start(threads=2, max_threads=2)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(100)]
        slow = [stack.enter_context(server.connect()) for _ in range(100)]
        used = [stack.enter_context(server.connect()) for _ in range(20)]
        for wire in slow:
            wire.send(b"GET /ok HTTP/1.1\r\nHost: ")
        for wire in used:
            assert wire.ask(OK).status == 200
        for round_ in range(10):
            for wire in slow:
                wire.send(b"%d" % round_)
            began = time.monotonic()
            assert server.ask(OK).body == b"ok"
            assert time.monotonic() - began < 2
        for wire in slow:
            assert wire.ask(b"\r\n\r\n").body == b"ok"
        for wire in silent:
            assert wire.ask(OK).body == b"ok"


def test_threads_are_added_when_slow_bodies_hold_them_all(start: Start) -> None:
    server = start(threads=2, max_threads=16)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            wire = stack.enter_context(server.connect())
            wire.send(b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na")
        assert server.ask(OK).body == b"ok"


def test_cap_of_connections_per_address(start: Start) -> None:
    server = start(max_connections_per_address=3)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(3)]
        for wire in wires:
            assert wire.ask(OK).status == 200
        with server.connect() as extra:
            assert extra.answer().status == 503
            assert extra.ended()
        wires[0].sock.close()

        def admitted() -> bool:
            with server.connect() as wire:
                try:
                    return wire.ask(OK).status == 200
                except OSError:
                    return False

        until(admitted)


def test_stop_lets_a_running_request_end(start: Start) -> None:
    server = start()
    with server.connect() as held, server.connect() as idle:
        assert idle.ask(OK).status == 200
        held.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.app.entered.wait(5)
        server.stop.set()
        assert idle.ended()
        with pytest.raises(OSError):
            Wire(server.address, timeout=1)
        assert server.thread.is_alive()
        server.app.release.set()
        answer = held.answer()
        assert (answer.status, answer.body) == (200, b"held")
        assert held.ended()
    server.end()


def test_stop_gives_up_on_a_request_that_does_not_end(start: Start) -> None:
    server = start(stop_timeout=0.3)
    with server.connect() as held:
        held.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.app.entered.wait(5)
        server.end(timeout=8)
    server.app.release.set()


def test_stop_serves_what_has_already_arrived(start: Start) -> None:
    server = start(threads=1, max_threads=1)
    with contextlib.ExitStack() as stack:
        blocker = stack.enter_context(server.connect())
        blocker.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.app.entered.wait(5)
        waiting = [stack.enter_context(server.connect()) for _ in range(5)]
        for wire in waiting:
            wire.send(OK)
        server.stop.set()
        until(lambda: refuses_connections(server))
        server.app.release.set()
        for wire in waiting:
            answer = wire.answer()
            assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
    server.end()


def test_a_given_listener_is_used(start: Start) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = start(listener=listener)
    assert server.url == f"http://127.0.0.1:{port}/"
    assert server.ask(OK).body == b"ok"


def test_two_servers_share_one_listener(start: Start) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    servers = [start(listener=listener.dup()), start(listener=listener)]
    for _ in range(20):
        assert servers[0].ask(OK).body == b"ok"
    servers[0].end()
    for _ in range(20):
        assert servers[1].ask(OK).body == b"ok"


def test_reuse_port(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as probe:
        port = probe.getsockname()[1]
        servers = [start(port=port, reuse_port=True) for _ in range(2)]
    for _ in range(40):
        assert servers[0].ask(OK).body == b"ok"
    assert all(server.app.calls for server in servers)


def test_ipv6(start: Start) -> None:
    try:
        server = start(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert server.url.startswith("http://[::1]:")
    assert server.ask(OK).body == b"ok"


def test_settings_that_contradict_each_other(tmp_path) -> None:
    for wrong in (
        {"tls_cert": tmp_path},
        {"port": 0, "reuse_port": True},
        {"threads": 0},
        {"threads": 9, "max_threads": 8},
    ):
        with pytest.raises(ValueError, match=r"\."):
            ServerSettings(**wrong)


def test_many_clients_at_once(server: Running) -> None:
    failures: list[BaseException] = []

    def client() -> None:
        try:
            with server.connect() as wire:
                for n in range(100):
                    body = b"b" * n
                    assert (
                        wire.ask(b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (n, body)).status
                        == 200
                    )
                    assert wire.ask(OK).body == b"ok"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_no_descriptors_left_makes_room_and_goes_on(start: Start) -> None:
    """Idle connections give way to new ones when the process may open no more files."""
    resource = pytest.importorskip("resource")
    server = start()
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(10)]
        for wire in idle:
            assert wire.ask(OK).body == b"ok"
        with socket.socket() as probe:
            lowest_free = probe.fileno()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = stack.enter_context(socket.socket())
        # One descriptor for the client itself, none for the server's end of it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, hard))
        try:
            client.connect(server.address)
            client.settimeout(10)
            client.sendall(OK)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert server.ask(OK).body == b"ok"
