"""The contract of stores over a share: before anything was uploaded, and after everything was and nothing is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davfusion.cache.caching_store import CachingStore
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.interface import Store
from davfusion.store.memory import MemoryStore
from davfusion.store.wrapper import WrappedStore
from davfusion.sync.engine import Engine
from tests.store.conftest import putter
from tests.store.test_contract_reading import *  # noqa: F403
from tests.store.test_contract_tree import *  # noqa: F403
from tests.store.test_contract_writing import *  # noqa: F403

WRITING = ("store_fileobject", "create_directory", "keep_directory", "delete", "delete_empty_directory",
           "unkeep_directory", "duplicate", "move")


class Carried(WrappedStore):
    """After each write everything is carried to the store, and no clean content is kept in the cache."""

    def __init__(self, share: Share) -> None:
        super().__init__(CachingStore(share))
        self._share = share
        self._engine = Engine(share)

    @contextlib.contextmanager
    def around(self, verb: str, path: str) -> Iterator[None]:
        yield
        if verb in WRITING:
            self._engine.run_due()
            self._share.lister.refresh(1)
            self._share.space.evict(2**60)


@pytest.fixture(params=["before upload", "after upload"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    def make() -> Store:
        (tmp_path / "state").mkdir()
        share = Share(tmp_path / "state", MemoryStore(), settings=CacheSettings(upload_delay=0))
        return CachingStore(share) if request.param == "before upload" else Carried(share)
    return make


@pytest.fixture
def backend() -> str:
    return "memory"


@pytest.fixture
def plain(opener: Callable[[], Store]) -> Iterator[Store]:
    store = opener()
    yield store
    store.close()


@pytest.fixture
def store(plain: Store) -> Store:
    return plain


@pytest.fixture
def put(store: Store) -> Callable[[str, bytes], str]:
    return putter(store)


@pytest.fixture
def putter_of() -> Callable[[Store], Callable[[str, bytes], str]]:
    return putter
