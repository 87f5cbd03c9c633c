"""What only a caching store does: it does not wait for the store inside, and tells what goes on behind it."""

from __future__ import annotations

import io

import pytest

from davfusion.cache.caching_store import CachingStore
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.store.errors import NotFoundError, OutOfSpaceError, TemporaryError
from davfusion.store.faults import Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.sync.engine import Engine
from tests.cache.conftest import MakeShare
from tests.cache.world import save, store_bytes, upload


def test_a_write_does_not_wait_for_the_store(make_share: MakeShare, inside: MemoryStore) -> None:
    down: list[Fault] = []
    share = make_share(FaultyStore(inside, lambda call: down[0] if down else None))
    caching = CachingStore(share)
    assert caching.get_directory_listing("/") == []
    down.append(Fault(before=TemporaryError("down")))
    stored = caching.store_fileobject(io.BytesIO(b"data"), "/a/b/c")
    caching.move("/a/b/c", "/moved")
    assert caching.get_file("/moved") == b"data"
    assert caching.get_metadata("/moved").version == stored.version
    assert caching.get_dirty_files() == ["/a", "/a/b", "/moved"]
    down.clear()
    assert inside.get_directory_listing("/") == []


def test_a_store_that_is_down_is_not_an_empty_one(make_share: MakeShare, inside: MemoryStore) -> None:
    share = make_share(FaultyStore(inside, lambda call: Fault(before=TemporaryError("down"))))
    caching = CachingStore(share)
    for question in (caching.get_metadata, caching.get_directory_listing, caching.exists, caching.get_file):
        with pytest.raises(TemporaryError):
            question("/a")
    with pytest.raises(TemporaryError):
        caching.store_fileobject(io.BytesIO(b"x"), "/a")


def test_a_full_cache_is_out_of_space(make_share: MakeShare, inside: MemoryStore) -> None:
    caching = CachingStore(make_share(inside, CacheSettings(limits=SpaceLimits(cache_size=500_000))))
    with pytest.raises(OutOfSpaceError):
        caching.store_fileobject(io.BytesIO(bytes(600_000)), "/a")
    with pytest.raises(NotFoundError):
        caching.get_metadata("/a")


def test_statistics(share: Share, inside: MemoryStore) -> None:
    caching = CachingStore(share)
    store_bytes(inside, "/far", b"x" * 2_000_000)
    assert (caching.get_downloaded(), caching.get_uploaded(), caching.get_cache_hits()) == (0, 0, 0)
    assert len(caching.get_file("/far")) == 2_000_000
    assert len(caching.get_file("/far")) == 2_000_000
    share.accesses.flush()
    assert caching.get_downloaded() == 2.0
    assert caching.get_download_rate() >= 0
    assert (caching.get_cache_hits(), caching.get_cache_misses()) == (1, 1)
    save(share, "/new", b"x" * 500_000)
    assert caching.get_dirty_files() == ["/new"]
    upload(share, "/new", confirmed=True)
    assert caching.get_dirty_files() == []
    share.delete("/new")
    assert caching.get_dirty_files() == ["/new"], "its object is still to be removed"
    assert "1 to be synchronised" in caching.get_status_information()


def test_statistics_of_the_engine(make_share: MakeShare, inside: MemoryStore) -> None:
    broken: list[Fault] = []
    share = make_share(FaultyStore(inside, lambda call: broken[0] if broken else None),
                       CacheSettings(upload_delay=0))
    caching = CachingStore(share)
    assert caching.get_upload_rate() == 0 and caching.get_exception_stats() == {}
    caching.store_fileobject(io.BytesIO(bytes(3_000_000)), "/a")
    engine = Engine(share)
    engine.run_due()
    engine.statistics.flush(0.0)
    assert caching.get_uploaded() == 3.0
    assert caching.get_upload_rate() > 0
    assert inside.get_bytes("/a") == 3_000_000
    broken.append(Fault(before=TemporaryError("The cable is out")))
    caching.store_fileobject(io.BytesIO(b"x"), "/b")
    engine.run_due()
    engine.statistics.flush(0.0)
    found = caching.get_exception_stats()
    assert list(found) == ["TemporaryError"]
    assert found["TemporaryError"].count >= 1 and "cable" in found["TemporaryError"].message
