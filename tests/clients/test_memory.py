"""An idle server is small, and a large file goes up and down, through the cache to the bucket, in little memory."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.processes import descendants, forget_peak, largest_resident, resident
from tests.clients.serving import Served, await_true, served
from tests.clients.webdav import Client
from tests.servers import rclone_s3

MIB = 2**20
MOST = 64 * MIB
IDLE_MOST = 130 * MIB
BLOCK = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(MIB // 32))


def content(size: int) -> Iterator[bytes]:
    """Reproducible bytes in which no two MiB are the same."""
    for number in range(size // MIB):
        yield number.to_bytes(8) + BLOCK[8:]


def digest(parts: Iterator[bytes]) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


class SizedBody:
    """A body of known length for requests, which otherwise would send it chunked."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts = content(size)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return self._parts


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_idle_server_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with served(str(tmp_path / "store"), "--workers", "2", "--upload-delay", "0", state=tmp_path / "state") as server:
        # each client has a connection of its own, so that both workers have something to do
        for number in range(20):
            client = Client(server.url)
            assert client.put(f"/{number}.txt", b"some text").status_code == 201
            assert client.get(f"/{number}.txt").content == b"some text"
            assert f"/{number}.txt" in [entry.path for entry in client.list("/")]
            client.session.close()
        server.sync()
        pids = descendants(server.process.pid)
        assert len(pids) == 4
        await_true(lambda: sum(resident(pid) for pid in pids) < IDLE_MOST, 10, f"less than {IDLE_MOST} bytes in memory")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [512 * MIB, pytest.param(4096 * MIB, marks=pytest.mark.slow)],
                         ids=["512MiB", "4GiB"])
def test_a_large_file_takes_little_memory(tmp_path: Path, size: int) -> None:
    expected = digest(content(size))
    with rclone_s3(tmp_path / "s3") as s3:
        s3.make_bucket("bucket")
        with served(s3.url("bucket", "drive", conditional="no"), "--upload-delay", "0", "--cache-size", "20G",
                    state=tmp_path / "state", environ=s3.environ) as server:
            client = Client(server.url)
            warm_up(client, server)
            before = measure_from_now(server)
            assert client.request("PUT", "/large.bin", data=SizedBody(size), timeout=900).status_code == 201
            with client.request("GET", "/large.bin", stream=True, timeout=900) as answer:
                assert digest(answer.iter_content(MIB)) == expected
            server.sync(900)
            assert_little(before)
        bucket_copy = tmp_path / "s3" / "bucket" / "drive" / "large.bin"
        with bucket_copy.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == expected
        with served(s3.url("bucket", "drive", conditional="no"), "--cache-size", "20G",
                    state=tmp_path / "another state", environ=s3.environ) as server:
            client = Client(server.url)
            warm_up(client, server)
            before = measure_from_now(server)
            with client.request("GET", "/large.bin", stream=True, timeout=900) as answer:
                assert digest(answer.iter_content(MIB)) == expected
            assert_little(before)


def warm_up(client: Client, server: Served) -> None:
    """Once through every part, so that libraries are loaded and pools are filled."""
    body = BLOCK * 8
    assert client.put("/warm.bin", body).status_code in (201, 204)
    assert client.get("/warm.bin").content == body
    server.sync()


def measure_from_now(server: Served) -> dict[int, int]:
    pids = descendants(server.process.pid)
    for pid in pids:
        forget_peak(pid)
    return {pid: resident(pid) for pid in pids}


def assert_little(before: dict[int, int]) -> None:
    growth = {pid: largest_resident(pid) - size for pid, size in before.items()}
    assert sum(growth.values()) < MOST, f"grew by {sum(growth.values()) / MIB:.0f} MiB: {growth}"
