"""Waiting for sockets: what there is on this system, and what there is everywhere."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from davfusion.server import lobby, poller
from tests.server.conftest import Start

KINDS = [poller.open_poller, poller._SelectorPoller]
OK = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_tells_until_it_is_read_or_unwatched(kind) -> None:
    waiting = kind()
    near, far = socket.socketpair()
    with contextlib.closing(waiting), near, far:
        waiting.watch(near.fileno())
        assert waiting.wait(0) == []
        far.send(b"a")
        assert waiting.wait(5) == waiting.wait(5) == [near.fileno()]
        near.recv(1)
        assert waiting.wait(0) == []
        far.close()
        assert waiting.wait(5) == [near.fileno()]
        waiting.unwatch(near.fileno())
        assert waiting.wait(0) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_on_it(start: Start, monkeypatch: pytest.MonkeyPatch, kind) -> None:
    monkeypatch.setattr(lobby, "open_poller", kind)
    server = start()
    put = b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"

    def client() -> None:
        with server.connect() as wire:
            for _ in range(20):
                assert wire.ask(OK * 3).body == wire.answer().body == wire.answer().body == b"ok"
                assert wire.send(put).ask(b"abc").body.startswith(b"3 ")
            done.append(1)

    done: list[int] = []
    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(20)
    assert len(done) == len(clients)
