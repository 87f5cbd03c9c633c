"""A share on a store in memory, with a clock that tests move and a count of what the store is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davfusion.cache.index import Index
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.interface import Store
from davfusion.store.memory import MemoryStore
from davfusion.store.statistics import StatisticsStore
from tests.cache.world import Clock

MakeShare = Callable[..., Share]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inside() -> MemoryStore:
    """What the store holds, for somebody else to change."""
    return MemoryStore()


@pytest.fixture
def store(inside: MemoryStore) -> StatisticsStore:
    """The same store as the share sees it, counted."""
    return StatisticsStore(inside)


@pytest.fixture
def make_share(tmp_path: Path, clock: Clock) -> Iterator[MakeShare]:
    opened: list[Share] = []

    def make(store: Store, settings: CacheSettings | None = None, state: str = "state") -> Share:
        settings = settings or CacheSettings()
        folder = tmp_path / state
        folder.mkdir(exist_ok=True)
        index = Index(folder / "index.db", durability=settings.durability, clock=clock)
        share = Share(folder, store, settings=settings, index=index)
        opened.append(share)
        return share

    yield make
    for share in opened:
        share.close()


@pytest.fixture
def share(make_share: MakeShare, store: StatisticsStore) -> Share:
    return make_share(store)
