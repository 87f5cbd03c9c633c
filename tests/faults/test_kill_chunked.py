"""kill -9 of a chunked share at random moments: nothing acknowledged is lost here, and the store alone is always whole.

After each kill the store is read as a stranger would, by its journal: every file in it is one that somebody saved,
whole. At the end it is brought back from the store alone and is what the writers were told.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.chunks.marker import read_marker
from davfusion.conversion.source import ChunkedShare
from davfusion.store.address import open_store
from tests.clients.serving import COMMAND, Served, start
from tests.clients.webdav import Client
from tests.faults.test_kill import KILLS, WRITERS, Place, Writer, _work_and_kill
from tests.proxy import tcp_proxy
from tests.servers import moto_s3

OPTIONS = ["--layout", "chunked", "--upload-delay", "0.05", "--pack-below", "80K", "--archive-size", "200K",
           "--block-size", "64K"]


class Saver(Writer):
    """A writer that remembers every body it ever sent."""

    def __init__(self, number: int, seed: int) -> None:
        super().__init__(number, seed)
        self.bodies: set[bytes] = set()

    def _put(self, client: Client, path: str):
        method, path, after, send = super()._put(client, path)
        self.bodies.add(after[path])
        return method, path, after, send


@pytest.fixture(params=["folder, 2 workers", "s3, process-safe",
                        pytest.param("s3, late requests", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store, and how it is served."""
    kills = max(2, KILLS // 2)
    if request.param.startswith("folder"):
        (tmp_path / "store").mkdir()
        yield Place(str(tmp_path / "store"), [*OPTIONS, "--workers", "2"], {}, kills)
        return
    with moto_s3() as s3:
        s3.make_bucket("bucket")
        if request.param == "s3, late requests":
            with tcp_proxy(s3.port) as way:
                yield Place(f"s3://bucket/drive?endpoint={way.endpoint}", OPTIONS, s3.environ, kills, way)
            return
        yield Place(s3.url("bucket", "drive"), [*OPTIONS, "--durability", "process-safe"], s3.environ, kills)


@pytest.mark.timeout(600)
def test_nothing_is_lost_and_the_store_alone_is_whole(place: Place, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    writers = [Saver(number, seed) for number in range(WRITERS)]
    state = tmp_path / "state"
    server = start(place.address, *place.options, state=state, environ=place.environ)
    journalled = 0
    try:
        for writer in writers:
            assert Client(server.url).request("MKCOL", writer.folder).status_code == 201
        for number in range(place.kills):
            # Every fifth time is long enough for files to reach the store, whatever chance says of the others.
            spared = 1.0 if number % 5 == 4 else 0.0
            _work_and_kill(server, writers, spared + chance.choice((0.2, 0.5, 1.5)) * chance.random(), place.way)
            journalled += assert_store_is_whole(place, set().union(*(writer.bodies for writer in writers)))
            server = start(place.address, *place.options, state=state, environ=place.environ)
            for writer in writers:
                writer.verify(server.url)
        server.sync(120)
        assert server.stop() == 0
        server = recovered(place, tmp_path)
        for writer in writers:
            writer.verify(server.url)
    finally:
        server.kill()
    acknowledged = sum(writer.acknowledged for writer in writers)
    print(f"{acknowledged} acknowledged changes over {place.kills} kills, {journalled} files seen in the store")
    assert acknowledged > place.kills, "too few acknowledged changes to prove anything"
    assert journalled > place.kills, "too few files reached the store to prove anything"


def assert_store_is_whole(place: Place, saved: set[bytes]) -> int:
    """Every file that the journal names can be read and is one that was saved; returns how many there are."""
    store = open_store(place.address, credentials={}, environ={**os.environ, **place.environ})
    try:
        marker = read_marker(store)
        if marker is None:
            return 0
        share = ChunkedShare(store, marker)
        assert share.image.losses == []
        files = [entry for entry in share.entries() if not entry.is_folder]
        for entry in files:
            assert b"".join(share.read(entry)) in saved, f"torn in the store: {entry.path}"
        return len(files)
    finally:
        store.close()


def recovered(place: Place, tmp_path: Path) -> Served:
    """A server on a state directory that was made from the store alone."""
    state = tmp_path / "recovered"
    done = subprocess.run([*COMMAND, "recover", place.address, "--state", str(state)], text=True, capture_output=True,
                          env={**os.environ, **place.environ}, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return start(place.address, *place.options, state=state, environ=place.environ)
