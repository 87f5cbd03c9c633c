"""Small uploads that a server begins before it waits for any of them: each answered as if it were alone."""

from __future__ import annotations

import io
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

from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp
from tests.dav.client import Client
from tests.dav.serving import exchange, served

LOCKING = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


class Begun:
    """A request that the application was called with, and whose result nobody has asked for yet."""

    def __init__(self, client: Client, method: str, url: str, body: bytes = b"", **headers: str) -> None:
        self.started: list[tuple[str, list[tuple[str, str]]]] = []
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        environ = client.environ(method, url, body, fields)
        self.result: Any = client.app(environ, lambda status, headers, exc_info=None: self.started.append(
            (status, headers)))

    def status(self) -> int:
        """Ask for the result."""
        assert not self.started
        b"".join(self.result)
        self.result.close()
        (status, _), = self.started
        return int(status[:3])


def test_one_that_fails_its_condition_does_not_hinder_the_others(client: Client, share: Share) -> None:
    client.put("/old", b"old")
    client.put("/locked", b"mine")
    assert client.lock("/locked").status == 200
    begun = [
        Begun(client, "PUT", "/new", b"1", If_None_Match="*"),
        Begun(client, "PUT", "/new", b"2", If_None_Match="*"),
        Begun(client, "PUT", "/old", b"3"),
        Begun(client, "PUT", "/other", b"4"),
    ]
    assert all(each.result.is_late for each in begun)
    assert not any(each.started for each in begun)
    assert [each.status() for each in begun] == [201, 412, 204, 201]
    assert [client.get(path).body for path in ("/new", "/old", "/other")] == [b"1", b"3", b"4"]
    assert client.put("/locked", b"theirs").status == 423
    assert share.files._in_memory == 0


def test_what_comes_between_counts(client: Client) -> None:
    """Who writes commits with its own change what was begun before it; what was begun after it meets its lock."""
    client.put("/f", b"old")
    etag = client.get("/f").headers["etag"]
    before = Begun(client, "PUT", "/f", b"new", If_Match=etag)
    assert client.get("/f").body == b"old"
    token = client.lock("/f").token
    assert client.get("/f").body == b"new"
    assert Begun(client, "PUT", "/f", b"refused").status() == 423
    waited_for = Begun(Client(client.app, body=io.BytesIO), "PUT", "/f", b"refused before it is asked for")
    assert waited_for.started[0][0].startswith("423")
    assert before.status() == 204
    assert client.unlock("/f", token).status == 204


def test_the_answer_of_nobody_is_made_all_the_same(client: Client, share: Share) -> None:
    """A server whose client left calls `close`: nothing hangs on in memory, and the content is whole."""
    gone, stays = Begun(client, "PUT", "/gone", b"gone"), Begun(client, "PUT", "/stays", b"stays")
    gone.result.close()
    assert gone.started == [] and stays.status() == 201
    gone.result.close()
    assert client.get("/gone").body == b"gone"
    assert share.files._in_memory == 0


def test_another_thread_may_ask(client: Client) -> None:
    begun = [Begun(client, "PUT", f"/{number}", b"x") for number in range(20)]
    with ThreadPoolExecutor(5) as threads:
        assert list(threads.map(Begun.status, begun)) == [201] * 20


FULL = """
import resource, signal, sys
from pathlib import Path
from davfusion.cache.index import Durability
from davfusion.cache.share import CacheSettings, Share
from davfusion.dav.app import DavFusionApp
from davfusion.store.memory import MemoryStore
from tests.dav.client import Client
from tests.dav.test_late import Begun
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
state = Path(sys.argv[1])
share = Share(state, MemoryStore(), settings=CacheSettings(durability=Durability(sys.argv[2])))
client = Client(DavFusionApp({"/": share}))
client.put("/old", b"old")
begun = [Begun(client, "PUT", path, b"x" * 16000) for path in ("/old", "/a", "/b")]
log = next(state.rglob("index.db-wal")).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (log + 20000, resource.RLIM_INFINITY))
print(*(each.status() for each in begun))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(client.get("/old").body.decode(), client.get("/a").status, client.get("/b").status, share.files._in_memory)
print(client.put("/a", b"x").status, share.index.view().contents.count_small())
share.close()
"""


@pytest.mark.parametrize("durability", ["power-safe", "process-safe"])
def test_a_commit_that_fails_fails_all_and_leaves_nothing(tmp_path: Path, durability: str) -> None:
    run = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "state"), durability],
                         capture_output=True, text=True, timeout=60)
    statuses, traces, after = run.stdout.splitlines()
    assert set(statuses.split()) <= {"500", "507"} and len(statuses.split()) == 3, run
    assert traces == "old 404 404 0" and after == "201 2", run


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
