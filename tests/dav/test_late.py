"""Small uploads that a server begins before it waits for any of them: each answered as if it were alone."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from davfusion.cache.share import Share
from tests.dav.client import Client


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
