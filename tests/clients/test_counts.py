"""How many requests reach the store: one per save, none for a cached folder, only listings for a cold one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.counting import RequestCount, counted
from tests.clients.serving import Served, served
from tests.clients.webdav import Client
from tests.servers import rclone_s3

BUCKET = "bucket"


@dataclass
class Counted:
    server: Served
    requests: RequestCount
    bucket: Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Counted]:
    """A share whose bucket already holds a folder of 500 files."""
    with rclone_s3(tmp_path / "s3") as s3:
        s3.make_bucket(BUCKET)
        cold = tmp_path / "s3" / BUCKET / "drive" / "cold"
        cold.mkdir(parents=True)
        for number in range(500):
            (cold / f"{number}.txt").write_text(str(number))
        with counted(s3.port, tmp_path) as requests:
            # conditions are left out: the check before a write is a request of its own
            address = f"s3://{BUCKET}/drive?endpoint={requests.endpoint}"
            with served(address, "--upload-delay", "0.5", "--revalidate-after", "600",
                        state=tmp_path / "state", environ=s3.environ) as server:
                assert requests.take() == ["GET /bucket/drive/davfusion.json"]  # once in the life of a state directory
                yield Counted(server, requests, tmp_path / "s3" / BUCKET / "drive")


def writes(requests: list[str]) -> list[str]:
    return [line for line in requests if not line.startswith(("GET ", "HEAD "))]


def is_listing(line: str) -> bool:
    return re.match(r"GET /bucket/?\?.*list-type=2", line) is not None


def test_ten_saves_are_one_upload(place: Counted) -> None:
    client = Client(place.server.url)
    client.list("/")
    place.requests.take()
    for number in range(10):
        assert client.put("/saved.txt", f"version {number}".encode()).status_code in (201, 204)
    place.server.sync()
    seen = place.requests.take()
    assert len(writes(seen)) == 1, seen
    assert writes(seen)[0].startswith("PUT /bucket/drive/saved.txt")
    assert (place.bucket / "saved.txt").read_bytes() == b"version 9"


def test_one_save_is_one_request(place: Counted) -> None:
    client = Client(place.server.url)
    client.list("/")
    place.requests.take()
    assert client.put("/one.txt", b"one").status_code == 201
    place.server.sync()
    seen = place.requests.take()
    assert len(seen) == 1, seen


def test_what_is_deleted_before_its_upload_never_travels(place: Counted) -> None:
    client = Client(place.server.url)
    client.list("/")
    place.requests.take()
    assert client.put("/short-lived.txt", b"x").status_code == 201
    assert client.request("DELETE", "/short-lived.txt").status_code == 204
    place.server.sync()
    assert writes(place.requests.take()) == []


def test_a_cold_folder_costs_only_listings(place: Counted) -> None:
    client = Client(place.server.url)
    assert len(client.list("/cold")) == 500
    seen = place.requests.take()
    assert seen
    assert all(is_listing(line) for line in seen), [line for line in seen if not is_listing(line)]
    assert len(seen) <= 3, seen


def test_a_cached_folder_costs_nothing(place: Counted) -> None:
    client = Client(place.server.url)
    assert len(client.list("/cold")) == 500
    place.requests.take()
    assert len(client.list("/cold")) == 500
    assert client.request("PROPFIND", "/cold/none.txt", headers={"Depth": "0"}).status_code == 404
    assert client.get("/cold/none.txt").status_code == 404
    assert place.requests.take() == []


def test_a_file_is_fetched_once(place: Counted) -> None:
    client = Client(place.server.url)
    assert client.get("/cold/7.txt").content == b"7"
    place.requests.take()
    assert client.get("/cold/7.txt").content == b"7"
    assert place.requests.take() == []
