"""kill -9 of the whole process group at random moments: what was acknowledged is there, and nothing is torn.

Each writer owns a folder and has one request under way at a time. When the server dies, the folder is either as
before that request or as after it; anything else is a loss, a torn file or a resurrection.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from davfusion.store.temporary import HIDDEN
from tests.clients.serving import Served, await_true, start
from tests.clients.trees import PLACEHOLDER
from tests.clients.webdav import Client
from tests.proxy import Proxy, tcp_proxy
from tests.servers import moto_s3

WRITERS = 4
FILES_PER_WRITER = 8
KILLS = int(os.environ.get("DAVFUSION_TEST_KILLS", "50"))
FEW_KILLS = max(1, KILLS // 6)
LARGEST = 300_000
LATE = 2.0
"""Seconds after which the store gets what the server sent just before it was killed: the next server looks sooner."""

Tree = dict[str, bytes | None]


@dataclass(frozen=True)
class Place:
    address: str
    options: list[str]
    environ: dict[str, str]
    kills: int
    way: Proxy | None = None
    """The way to the store, where what is sent last comes late."""


class Writer:
    """Changes its folder at random and remembers what the server acknowledged."""

    def __init__(self, number: int, seed: int) -> None:
        self.folder = f"/writer-{number}"
        self.random = random.Random(f"{seed}/{number}")
        self.sure: Tree = {}
        self.doubtful: Tree | None = None
        """The folder if the request that got no answer took effect; None when no request is open."""
        self.acknowledged = 0
        self.refused: list[str] = []

    def work(self, url: str, stop: threading.Event) -> None:
        """Send requests until told to stop or until the server is gone."""
        client = Client(url)
        with contextlib.suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            while not stop.is_set() and not self.refused:
                self._step(client)

    def _step(self, client: Client) -> None:
        method, path, after, send = self._choose(client)
        self.doubtful = after
        answer = send()
        if not 200 <= answer.status_code < 300:
            self.refused.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            return
        self.sure, self.doubtful = after, None
        self.acknowledged += 1

    def _choose(self, client: Client):
        files = [path for path, content in self.sure.items() if content is not None]
        folders = [path for path, content in self.sure.items() if content is None]
        kind = self.random.choices(("put", "move", "delete", "folder", "move folder", "delete folder"),
                                   (10, 4, 3, 2, 2, 1))[0]
        if kind == "move" and files:
            return self._move(client, self.random.choice(files), self._new_name(folders))
        if kind == "delete" and files:
            return self._delete(client, self.random.choice(files))
        if kind == "folder" and len(folders) < 3:
            path = f"{self.folder}/folder-{self.random.randrange(3)}"
            if path not in self.sure:
                return "MKCOL", path, {**self.sure, path: None}, lambda: client.request("MKCOL", path)
        if kind == "move folder" and folders:
            return self._move(client, self.random.choice(folders), f"{self.folder}/folder-{self.random.randrange(3)}")
        if kind == "delete folder" and folders:
            return self._delete(client, self.random.choice(folders))
        return self._put(client, self._new_name(folders))

    def _new_name(self, folders: list[str]) -> str:
        parent = self.random.choice([self.folder, *folders])
        return f"{parent}/file {self.random.randrange(FILES_PER_WRITER)}.bin"

    def _put(self, client: Client, path: str):
        body = self.random.randbytes(self.random.choice((0, 10, 5_000, 70_000, LARGEST)))
        return "PUT", path, {**self.sure, path: body}, lambda: client.put(path, body)

    def _delete(self, client: Client, path: str):
        return "DELETE", path, _without(self.sure, path), lambda: client.request("DELETE", path)

    def _move(self, client: Client, source: str, destination: str):
        if source == destination:
            return self._put(client, f"{self.folder}/file 0.bin")
        moved = {destination + path[len(source):]: content for path, content in self.sure.items()
                 if path == source or path.startswith(source + "/")}
        after = {**_without(_without(self.sure, source), destination), **moved}
        return "MOVE", source, after, lambda: client.move(source, destination)

    def verify(self, url: str) -> None:
        """The folder is as acknowledged, or as the open request would have made it."""
        actual = Client(url).tree(self.folder)
        doubtful, self.doubtful = self.doubtful, None
        if doubtful is not None and actual == doubtful:
            self.sure = doubtful
        as_done = "" if doubtful is None else f"; if the open request took effect: {_difference(doubtful, actual)}"
        is_right = actual == self.sure  # pytest would compare the bytes line by line, for minutes
        assert is_right, _difference(self.sure, actual) + as_done


def _without(tree: Tree, path: str) -> Tree:
    return {other: content for other, content in tree.items()
            if other != path and not other.startswith(path + "/")}


def _difference(expected: Tree, actual: Tree) -> str:
    lost = sorted(set(expected) - set(actual))
    risen = sorted(set(actual) - set(expected))
    wrong = sorted(path for path in expected if path in actual and expected[path] != actual[path])
    return f"lost {lost}, risen {risen}, wrong bytes {wrong}"


@pytest.fixture(params=["folder", "folder, 2 workers", "folder, 4 workers", "s3", "s3, process-safe",
                        "s3, late requests"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store, and how it is served."""
    options = ["--upload-delay", "0.05", "--revalidate-after", "0.5"]
    if request.param.startswith("folder"):
        (tmp_path / "store").mkdir()
        workers = request.param.removeprefix("folder, ").partition(" ")[0] if "workers" in request.param else "1"
        kills = FEW_KILLS if workers == "4" else KILLS
        yield Place(str(tmp_path / "store"), [*options, "--workers", workers], {}, kills)
        return
    durability = ["--durability", "process-safe"] if "process-safe" in request.param else []
    with moto_s3() as s3:
        s3.make_bucket("bucket")
        if request.param == "s3, late requests":
            with tcp_proxy(s3.port) as way:
                address = f"s3://bucket/drive?endpoint={way.endpoint}"
                yield Place(address, options, s3.environ, FEW_KILLS, way)
            return
        yield Place(s3.url("bucket", "drive"), options + durability, s3.environ, KILLS)


@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost(place: Place, tmp_path: Path) -> None:
    address, options, environ = place.address, place.options, place.environ
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    writers = [Writer(number, seed) for number in range(WRITERS)]
    state = tmp_path / "state"
    server = start(address, *options, state=state, environ=environ)
    try:
        for writer in writers:
            assert Client(server.url).request("MKCOL", writer.folder).status_code == 201
        for _ in range(place.kills):
            # some die young, some live long enough to upload
            _work_and_kill(server, writers, chance.choice((0.2, 0.5, 1.5)) * chance.random(), place.way)
            server = start(address, *options, state=state, environ=environ)
            for writer in writers:
                writer.verify(server.url)
        server.sync(120)
        for writer in writers:
            writer.verify(server.url)
        expected = {path: content for writer in writers for path, content in writer.sure.items()}
        if place.way is not None:
            _await_what_is_late(place, server.url, expected)
        assert_store_holds(address, environ, expected, tmp_path)
    finally:
        server.kill()
    acknowledged = sum(writer.acknowledged for writer in writers)
    print(f"{acknowledged} acknowledged changes over {place.kills} kills")
    assert acknowledged > place.kills, "too few acknowledged changes to prove anything"
    assert all(writer.acknowledged for writer in writers)


def _work_and_kill(server: Served, writers: list[Writer], after: float, way: Proxy | None = None) -> None:
    """Let the writers work for some seconds, then kill everything under them; what was sent last comes late."""
    stop = threading.Event()
    threads = [threading.Thread(target=writer.work, args=(server.url, stop)) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(after)  # the random moment is what is tested
    if way is not None:
        way.set_latency(LATE)
        time.sleep(0.1)  # some requests are on their way by then
    server.kill()
    if way is not None:
        way.set_latency(0.0)
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a writer hangs"
    refused = [line for writer in writers for line in writer.refused]
    assert not refused, refused


def _await_what_is_late(place: Place, url: str, tree: Tree) -> None:
    """What the last server sent comes now, is seen by whoever looks, and goes; should it stay, the next check tells."""
    def is_gone() -> bool:
        Client(url).tree("/")
        return _bucket(place.address, place.environ) == files

    files = {path: content for path, content in tree.items() if content is not None}
    time.sleep(LATE)
    with contextlib.suppress(AssertionError):
        await_true(is_gone, 30, "only what is expected is in the store")


def assert_store_holds(address: str, environ: dict[str, str], tree: Tree, scratch: Path) -> None:
    """Read the store beside davfusion: the same files with the same bytes, and no others."""
    if address.startswith("s3:"):
        actual = _bucket(address, environ)
    else:
        root = Path(address)
        actual = {"/" + path.relative_to(root).as_posix(): path.read_bytes()
                  for path in root.rglob("*") if path.is_file() and path.name != PLACEHOLDER
                  # half an upload that a kill left behind; nobody sees it, and the store sweeps it later
                  and not path.name.startswith(HIDDEN)}
    files = {path: content for path, content in tree.items() if content is not None}
    is_right = actual == files
    assert is_right, _difference(files, actual)


def _bucket(address: str, environ: dict[str, str]) -> Tree:
    import boto3

    location, _, query = address.partition("?")
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    client = boto3.client(
        "s3", endpoint_url=query.removeprefix("endpoint="), region_name="us-east-1",
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"])
    found: Tree = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/"):
        for entry in page.get("Contents", []):
            if not entry["Key"].endswith(PLACEHOLDER):
                body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                found["/" + entry["Key"].removeprefix(prefix + "/")] = body
    return found


def test_a_port_is_free_again_after_a_kill(tmp_path: Path) -> None:
    """No orphan keeps the port or the state when only the supervisor is killed."""
    (tmp_path / "store").mkdir()
    server = start(str(tmp_path / "store"), state=tmp_path / "state")
    try:
        server.process.kill()
        server.process.wait()
        again = start(str(tmp_path / "store"), state=tmp_path / "state", port=server.port)
        try:
            assert Client(again.url).list("/") == []
        finally:
            again.kill()
    finally:
        server.kill()
    await_true(lambda: is_free(server.port), 10, "the port is free")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
