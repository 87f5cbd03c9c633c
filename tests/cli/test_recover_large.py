"""`davfusion recover` of 100,000 files from a server that takes 30 ms for each request."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from davfusion.chunks import volume
from davfusion.chunks.entry import EntryWriter, Header
from davfusion.chunks.lines import ContentLine, Line, NodeLine, ObjectLine, Part
from davfusion.chunks.marker import Marker, create_marker
from davfusion.store.interface import Store
from davfusion.store.local import LocalStore
from tests.clients.serving import COMMAND, served
from tests.clients.webdav import Client
from tests.proxy import tcp_proxy
from tests.servers import rclone_s3

FILES, IN_FOLDER, SIZE = 100_000, 400, 4096
ONE_WAY = 0.015
"""Seconds; a request takes two of them."""
SECONDS, MEBIBYTES = 60, 400


def lines(number: int) -> Iterator[Line]:
    """A folder of files in an archive of its own."""
    first = 2 + number * (IN_FOLDER + 1)
    path = volume.archive_path(f"{number:032x}")
    yield ObjectLine(path, IN_FOLDER * SIZE, None)
    yield NodeLine(first, 1, f"folder {number}", True, None, 1e9 + 0.5, 1e9, None, {})
    for file in range(IN_FOLDER):
        node = first + 1 + file
        yield ContentLine(node, SIZE, None, (Part(path, file * SIZE, SIZE, SIZE, "stored", 0),))
        yield NodeLine(node, first, f"file {file}.txt", False, node, 1e9 + file, 1e9, "text/plain",
                       {"{urn:x}n": "<n xmlns='urn:x'/>"} if file % 10 == 0 else {})


def write(store: Store, kind: str, number: int, share: str, content: Iterable[Line]) -> None:
    file = io.BytesIO()
    writer = EntryWriter(file, Header(kind, number, share, "test", uuid.uuid4().hex, 1e9))  # type: ignore[arg-type]
    for line in content:
        writer.add(line)
    writer.finish()
    path = volume.journal_path(number) if kind == "journal" else volume.snapshot_path(number)
    store.store_fileobject(file, path)


@pytest.mark.slow
@pytest.mark.parametrize("with_snapshot", [True, False])
def test_many_files(tmp_path: Path, with_snapshot: bool) -> None:
    (tmp_path / "s3/bucket").mkdir(parents=True)
    store = LocalStore(tmp_path / "s3/bucket")
    share, folders = uuid.uuid4().hex, FILES // IN_FOLDER
    create_marker(store, Marker(share, 1e9))
    for number in range(folders):
        store.store_fileobject(io.BytesIO(bytes(IN_FOLDER * SIZE)), volume.archive_path(f"{number:032x}"))
        write(store, "journal", number + 1, share, lines(number))
    if with_snapshot:
        write(store, "snapshot", folders, share, (line for number in range(folders) for line in lines(number)))
    with rclone_s3(tmp_path / "s3") as s3, tcp_proxy(s3.port, latency=ONE_WAY) as proxy:
        address, state = f"s3://bucket?endpoint={proxy.endpoint}", tmp_path / "state"
        began = time.monotonic()
        done = subprocess.run([*COMMAND, "recover", address, "--state", str(state)], env={**os.environ, **s3.environ},
                              capture_output=True, text=True, timeout=300, check=False)
        taken = time.monotonic() - began
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{FILES} files recovered in {taken:.1f} s, {memory:.0f} MiB at most in any child so far")
        assert done.returncode == 0, done.stderr
        assert f"{FILES} files" in done.stdout
        assert taken < SECONDS and memory < MEBIBYTES
        with served(address, "--layout", "chunked", state=state, environ=s3.environ) as server:
            assert len(Client(server.url).list("/")) == folders
            assert len(Client(server.url).list("/folder 7")) == IN_FOLDER
