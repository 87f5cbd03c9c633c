"""SIGUSR1 replaces the workers one after the other while people work; SIGHUP and a closed terminal."""

from __future__ import annotations

import http.client
import os
import pty
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import requests

from tests.clients.processes import descendants
from tests.clients.serving import COMMAND, Served, await_true, served, session
from tests.servers import free_port

CLIENTS = 6
ROUNDS = 3


class LoadedClient:
    """Saves and reads a file of its own over one connection for as long as the server keeps it open."""

    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._path = f"/{number}.txt"
        self.answered = 0
        self.failures: list[str] = []

    def work(self, stop: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            while not stop.is_set():
                body = b"%d" % self.answered
                self._ask(connection, "PUT", body)
                self._ask(connection, "GET", None, expected=body)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.failures.append(repr(error))
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, method: str, body: bytes | None,
             expected: bytes = b"") -> None:
        connection.request(method, self._path, body)
        answer = connection.getresponse()
        assert answer.read() == expected, f"{method}: wrong bytes"
        assert answer.status in (200, 201, 204), f"{method}: {answer.status}"
        self.answered += 1


def workers(server: Served) -> set[int]:
    return {pid for pid in descendants(server.process.pid) if b"processes.front" in _command_line(pid)}


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "store").mkdir()
    with served(str(tmp_path / "store"), "--workers", "2", state=tmp_path / "state") as running:
        yield running


def test_no_request_fails_while_workers_are_replaced(server: Served) -> None:
    clients = [LoadedClient(server.port, number) for number in range(CLIENTS)]
    stop = threading.Event()
    threads = [threading.Thread(target=client.work, args=(stop,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            old = workers(server)
            answered = [client.answered for client in clients]
            os.kill(server.process.pid, signal.SIGUSR1)
            await_true(lambda old=old: len(workers(server)) == 2 and not old & workers(server), 60, "two new workers")
            await_true(lambda before=answered: all(
                client.failures or client.answered > count for client, count in zip(clients, before, strict=True)),
                30, "everybody is served by the new ones")
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert [client.failures for client in clients] == [[]] * CLIENTS, server.logs()
    assert server.stop() == 0


def test_a_hangup_does_not_end_a_service(server: Served) -> None:
    before = workers(server)
    os.kill(server.process.pid, signal.SIGHUP)
    os.kill(server.process.pid, signal.SIGUSR1)  # seen after the other: a process whose workers change has survived it
    await_true(lambda: len(workers(server)) == 2 and not before & workers(server), 60, "two new workers")
    assert server.stop() == 0


def test_a_hangup_does_not_end_a_server_in_one_process(tmp_path: Path) -> None:
    with served("memory://", state=tmp_path / "state") as running:
        os.kill(running.process.pid, signal.SIGHUP)
        assert running.stop() == 0


def test_a_closed_terminal_ends_the_server_in_order(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored, as nohup does
        os.execv(COMMAND[0], [*COMMAND, "serve", str(tmp_path / "store"), "--port", "0", "--state",
                              str(tmp_path / "state")])
    shown = b""
    while b"davfusion serves" not in shown:
        shown += os.read(terminal, 4096)
    started = descendants(pid)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not [each for each in started if _command_line(each)]


@pytest.mark.parametrize("store", ["folder", "memory://"])
def test_a_server_whose_output_nobody_reads(tmp_path: Path, store: str) -> None:
    (tmp_path / "folder").mkdir()
    port = free_port()
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen([*COMMAND, "serve", store, "--port", str(port), "--state", str(tmp_path / "state")],
                               stdout=writer, env={**os.environ, "PYTHONPATH": str(Path.cwd())}, cwd=tmp_path)
    os.close(writer)
    try:
        await_true(lambda: _answers(port), 30, "an answer")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _answers(port: int) -> bool:
    try:
        return session().options(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False
