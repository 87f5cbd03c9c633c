"""Uploads under several servers, and beside another process that holds the index."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests

from davfusion.dav.app import DavFusionApp
from tests.dav.serving import exchange, served

LOCKING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@pytest.fixture
def wsgiref(app: DavFusionApp) -> Iterator[str]:
    """The application under the server of the standard library, which knows nothing of late answers."""
    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join(10)
    server.server_close()


def puts_and_gets(url: str) -> None:
    assert requests.put(url + "f", b"x" * 100, timeout=10).status_code == 201
    assert requests.put(url + "f", b"y" * 100, timeout=10).status_code == 204
    refused = requests.put(url + "f", b"z", headers={"If-None-Match": "*"}, timeout=10)
    assert refused.status_code == 412 and refused.text
    assert requests.get(url + "f", timeout=10).content == b"y" * 100


def test_under_the_server_of_the_standard_library(wsgiref: str) -> None:
    puts_and_gets(wsgiref)


@pytest.mark.parametrize("server", ["cheroot", "fusion"])
def test_under_a_server(tmp_path: Path, server: str) -> None:
    with served("ours", server, tmp_path / "state") as url:
        puts_and_gets(url)
        put = b"PUT /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n%b\r\nabc"
        answer = exchange(url, put % (1, b"") + put % (2, b"") + put % (2, b"If-None-Match: *\r\n")
                          + put % (4, b"Connection: close\r\n"))
        assert re.findall(rb"HTTP/1.1 ([0-9]+)", answer) == [b"201", b"201", b"412", b"201"]


def seconds(call: Callable[[], requests.Response]) -> float:
    began = time.perf_counter()
    assert call().status_code == 200
    return time.perf_counter() - began


def test_who_reads_does_not_wait_for_who_writes(tmp_path: Path) -> None:
    """While another process holds the index for a second, uploads wait and nothing else does."""
    state = tmp_path / "state"
    with served("ours", "fusion", state) as url, ThreadPoolExecutor(12) as threads, requests.Session() as reading:
        assert requests.put(url + "f", b"read", timeout=10).status_code == 201
        (index,) = state.rglob("index.db")
        holder = subprocess.Popen([sys.executable, "-c", LOCKING, str(index)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        writing = [threads.submit(requests.put, f"{url}{number}", b"x" * 4096, timeout=20) for number in range(12)]
        until = time.monotonic() + 1.0
        took = []
        while time.monotonic() < until:
            took.append(seconds(lambda: reading.get(url + "f", timeout=10)))
        assert not any(each.done() for each in writing)
        holder.communicate("")
        assert [each.result(20).status_code for each in writing] == [201] * 12
        assert statistics.median(took) < 0.05 and max(took) < 0.5
