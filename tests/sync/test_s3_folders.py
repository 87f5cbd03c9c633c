"""Folders of a real S3 server: markers of ours, which go when they are not needed, and of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.cache.listing import Freshness
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.address import open_store
from davfusion.store.statistics import StatisticsStore
from davfusion.sync.engine import Engine
from tests.servers import S3Server, moto_s3
from tests.sync.world import save


class Drive:
    """A share on a bucket, and a client that sees all keys of the bucket."""

    def __init__(self, state: Path, server: S3Server) -> None:
        server.make_bucket("bucket")
        self.raw = server.client()
        self.store = StatisticsStore(open_store(server.url("bucket"), credentials={}, environ=server.environ))
        freshness = Freshness(revalidate_after=0.0)
        self.share = Share(state, self.store, settings=CacheSettings(upload_delay=0.0, freshness=freshness))
        self.engine = Engine(self.share)

    def put_marker(self, key: str) -> None:
        self.raw.put_object(Bucket="bucket", Key=key, Body=b"")

    def objects(self) -> list[str]:
        return [entry["Key"] for entry in self.raw.list_objects_v2(Bucket="bucket").get("Contents", [])]

    def names(self) -> list[str]:
        return [node.name for node in self.share.children(self.share.find_known("/"))]

    def carry(self) -> None:
        self.engine.run_due()
        self.engine.tidy()


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    with moto_s3() as server:
        drive = Drive(tmp_path, server)
        yield drive
        drive.share.close()


def test_a_marker_that_is_not_needed_goes_and_is_not_asked_for_again(drive: Drive) -> None:
    drive.share.make_folder("/d")
    drive.carry()
    save(drive.share, "/d/f", b"data")
    drive.carry()
    assert drive.objects() == ["d/f"]
    asked = dict(drive.store.snapshot().requests)
    drive.carry()
    assert drive.store.snapshot().requests == asked


def test_folders_that_other_programs_made_can_be_deleted(drive: Drive) -> None:
    for key in ("empty/", "full/", "full/x", "deep/er/"):
        drive.put_marker(key)
    assert drive.names() == ["deep", "empty", "full"]
    for name in drive.names():
        drive.share.delete(f"/{name}")
    drive.carry()
    assert drive.objects() == []
    assert drive.names() == []


def test_folders_that_other_programs_made_can_be_renamed(drive: Drive) -> None:
    for key in ("empty/", "full/", "full/x"):
        drive.put_marker(key)
    for name in drive.names():
        drive.share.move(f"/{name}", f"/{name} renamed", overwrite=False)
    drive.carry()
    assert drive.names() == ["empty renamed", "full renamed"]
    assert [key for key in drive.objects() if not key.startswith(("empty renamed/", "full renamed/"))] == []


def test_a_folder_that_other_programs_made_is_left_with_its_marker(drive: Drive) -> None:
    drive.put_marker("theirs/")
    drive.names()
    save(drive.share, "/theirs/f", b"data")
    drive.carry()
    assert drive.objects() == ["theirs/", "theirs/f"]
