"""What clients notice of a stop, of a worker that is replaced and of one that dies: as little as can be."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.serving import Served, await_true, served
from tests.clients.test_replacing import workers
from tests.clients.webdav import Client

BODY = os.urandom(300_000)
KILLS = 5
CONNECTIONS = 20


class Upload:
    """A PUT that has begun, and of whose body one half was sent."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.sendall(f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(BODY)}\r\n"
                             "Expect: 100-continue\r\n\r\n".encode())
        assert self._socket.recv(1000).startswith(b"HTTP/1.1 100 ")  # the server waits for the body
        self._socket.sendall(BODY[:len(BODY) // 2])

    def finish(self) -> bytes:
        """Send the other half; the first line of the answer."""
        self._socket.sendall(BODY[len(BODY) // 2:])
        with self._socket, self._socket.makefile("rb") as answer:
            return answer.readline()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "store").mkdir()
    with served(str(tmp_path / "store"), "--workers", "2", state=tmp_path / "state") as running:
        yield running


def test_a_stop_waits_for_requests_under_way(server: Served, tmp_path: Path) -> None:
    uploads = [Upload(server.port, f"/{number}") for number in range(4)]
    server.process.send_signal(signal.SIGTERM)
    await_true(lambda: server.log.read_text().count("server stopping") == 2, 10, "both workers stop")
    assert all(upload.finish().startswith(b"HTTP/1.1 201 ") for upload in uploads)
    assert server.process.wait(20) == 0
    with served(str(tmp_path / "store"), state=tmp_path / "state") as again:
        assert all(Client(again.url).get(f"/{number}").content == BODY for number in range(4))


def test_a_replaced_worker_ends_its_requests(server: Served) -> None:
    old = workers(server)
    uploads = [Upload(server.port, f"/{number}") for number in range(4)]
    os.kill(server.process.pid, signal.SIGUSR1)
    await_true(lambda: "server stopping" in server.log.read_text(), 30, "the first worker is told to end")
    assert all(upload.finish().startswith(b"HTTP/1.1 201 ") for upload in uploads)
    await_true(lambda: len(workers(server)) == 2 and not old & workers(server), 60, "two new workers")
    assert all(Client(server.url).get(f"/{number}").content == BODY for number in range(4))


def test_a_dead_worker_refuses_nobody(server: Served) -> None:
    assert Client(server.url).put("/file", b"text").status_code == 201
    for _ in range(KILLS):
        killed = min(workers(server))
        os.kill(killed, signal.SIGKILL)
        await_true(lambda killed=killed: killed not in workers(server), 10, "it is dead")
        # one of two connections comes to the queue of the dead one and waits there for the next
        for _ in range(CONNECTIONS):
            client = Client(server.url)
            assert client.get("/file").content == b"text"
            client.session.close()
        await_true(lambda: len(workers(server)) == 2, 30, "a new worker")
