"""The store is gone for a while: cached reads and all writes go on, and everything arrives afterwards."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from tests.clients.serving import await_true, served
from tests.clients.trees import fingerprint
from tests.clients.webdav import Client
from tests.servers import rclone_s3

SLOWEST_ANSWER = 5.0
"""Seconds that a request may take while the store is down."""


@pytest.mark.parametrize("seconds", [6.0, pytest.param(60.0, marks=pytest.mark.slow)])
@pytest.mark.timeout(400)
def test_work_goes_on(tmp_path: Path, seconds: float) -> None:
    chance = random.Random(5)
    expected: dict[str, bytes] = {}
    with contextlib.ExitStack() as first_life:
        s3 = first_life.enter_context(rclone_s3(tmp_path / "s3"))
        s3.make_bucket("bucket")
        with served(s3.url("bucket", "drive", conditional="no"), "--upload-delay", "0.2", "--revalidate-after", "1",
                    state=tmp_path / "state", environ=s3.environ) as server:
            client = Client(server.url)
            assert client.request("MKCOL", "/folder").status_code == 201
            for number in range(20):
                expected[f"/folder/{number}.bin"] = chance.randbytes(50_000)
                assert client.put(f"/folder/{number}.bin", expected[f"/folder/{number}.bin"]).status_code == 201
            server.sync()
            assert len(client.list("/folder")) == 20

            first_life.close()  # the store is down from here on
            slowest = _work_without_store(client, expected, chance, time.monotonic() + seconds)
            assert slowest < SLOWEST_ANSWER
            waiting = server.davfusion("status")
            assert waiting.returncode == 3, waiting.stdout + waiting.stderr

            with rclone_s3(tmp_path / "s3", port=s3.port):
                bucket = tmp_path / "s3" / "bucket" / "drive"
                await_true(lambda: server.davfusion("status").returncode == 0, 120, "uploads resume by themselves")
                actual = {"/" + name: (bucket / name).read_bytes() for name in fingerprint(bucket, folders=False)}
                assert actual == expected
                assert client.tree("/folder") == {path: body for path, body in expected.items()
                                                  if path.startswith("/folder/")}


def _work_without_store(client: Client, expected: dict[str, bytes], chance: random.Random, until: float) -> float:
    """Read, write, rename and delete; the seconds of the slowest answer."""
    slowest, number = 0.0, 0
    while time.monotonic() < until:
        number += 1
        began = time.monotonic()
        _one_round(client, expected, chance, number)
        slowest = max(slowest, time.monotonic() - began)
    assert number > 5
    return slowest


def _one_round(client: Client, expected: dict[str, bytes], chance: random.Random, number: int) -> None:
    path = chance.choice(sorted(expected))
    answer = client.get(path)
    assert (answer.status_code, answer.content) == (200, expected[path]), (answer.status_code, answer.text[:300])
    body = chance.randbytes(30_000)
    new = f"/folder/new-{number % 50}.bin"
    assert client.put(new, body).status_code in (201, 204)
    expected[new] = body
    if number % 3 == 0:
        moved = f"/folder/moved-{number % 50}.bin"
        assert client.move(new, moved).status_code in (201, 204)
        expected[moved] = expected.pop(new)
    if number % 7 == 0:
        assert client.request("DELETE", path).status_code in (204, 404)
        expected.pop(path, None)
