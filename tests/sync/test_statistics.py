"""What the engine tells about its work."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.cache.index import Durability, Index
from davfusion.cache.transparent import ENGINE_STATISTICS
from davfusion.store.errors import StoreError, TemporaryError
from davfusion.sync.statistics import KINDS, WINDOW, Statistics


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "index.db", durability=Durability.PROCESS_SAFE)
    yield made
    made.close()


@pytest.fixture
def statistics(index: Index) -> Statistics:
    return Statistics(index)


def test_nothing_uploaded_is_no_rate(statistics: Statistics) -> None:
    assert statistics.upload_rate() == 0.0


def test_transfers_at_the_same_time_add_up(statistics: Statistics) -> None:
    now = time.monotonic()
    for _ in range(4):
        statistics.uploaded(1000, now - 2, now)
    assert statistics.upload_rate() == pytest.approx(2000, rel=0.01)


def test_pauses_do_not_count(statistics: Statistics) -> None:
    now = time.monotonic()
    statistics.uploaded(1000, now - 50, now - 49)
    statistics.uploaded(1000, now - 49.5, now - 48.5)
    statistics.uploaded(1000, now - 2, now - 1.5)
    assert statistics.upload_rate() == pytest.approx(3000 / 2.0, rel=0.01)


def test_a_short_transfer_inside_a_long_one_adds_no_time(statistics: Statistics) -> None:
    now = time.monotonic()
    statistics.uploaded(1000, now - 10, now)
    statistics.uploaded(1000, now - 6, now - 5)
    assert statistics.upload_rate() == pytest.approx(200, rel=0.01)


def test_of_a_transfer_longer_than_the_window_only_its_share_counts(statistics: Statistics) -> None:
    now = time.monotonic()
    statistics.uploaded(10_000, now - 10 * WINDOW, now)
    assert statistics.upload_rate() == pytest.approx(1000 / WINDOW, rel=0.05)


def test_old_transfers_are_forgotten(statistics: Statistics) -> None:
    now = time.monotonic()
    statistics.uploaded(10**9, now - WINDOW - 5, now - WINDOW - 1)
    assert statistics.upload_rate() == 0.0


def test_a_slow_store_is_asked_less(statistics: Statistics) -> None:
    now = time.monotonic()
    assert statistics.slowdown() == 1
    for duration, expected in ((0.5, 1), (1.7, 2), (5.0, 4), (0.1, 1)):
        for _ in range(10):
            statistics.uploaded(1, now - duration, now)
        assert statistics.slowdown() == expected


def test_errors_are_counted_by_kind(statistics: Statistics, index: Index) -> None:
    statistics.failed(TemporaryError("once", "/a"))
    statistics.failed(TemporaryError("twice", "/b"))
    statistics.flush(5.0)
    snapshot = json.loads(index.view().operations.meta(ENGINE_STATISTICS) or "")
    assert snapshot["heartbeat"] == 5.0
    assert [(error["name"], error["count"], error["message"]) for error in snapshot["errors"]] == [
        ("TemporaryError", 2, "twice (/b)")]


def test_memory_is_bounded(statistics: Statistics, index: Index) -> None:
    for number in range(10 * KINDS):
        statistics.failed(type(f"Error{number}", (StoreError,), {})("odd"))
    for _ in range(30_000):
        statistics.uploaded(1, 0.0, 1.0)
    statistics.flush(1.0)
    snapshot = json.loads(index.view().operations.meta(ENGINE_STATISTICS) or "")
    assert len(snapshot["errors"]) == KINDS
    assert sum(len(value) for value in vars(statistics).values() if hasattr(value, "__len__")) < 11_000


def test_sums_outlive_the_engine_and_are_not_counted_twice(index: Index) -> None:
    for _ in range(3):
        statistics = Statistics(index)
        statistics.uploaded(500, 0.0, 1.0)
        statistics.flush(1.0)
        statistics.flush(2.0)
    assert index.view().operations.counters()["uploads"] == 3
    assert index.view().operations.counters()["uploaded_bytes"] == 1500


def test_sums_survive_an_index_that_cannot_be_written(index: Index, statistics: Statistics) -> None:
    statistics.uploaded(500, 0.0, 1.0)
    write = index.write

    def refuse(change):  # type: ignore[no-untyped-def]
        raise TemporaryError("The index is in use")
    index.write = refuse  # type: ignore[method-assign]
    with pytest.raises(TemporaryError):
        statistics.flush(1.0)
    index.write = write  # type: ignore[method-assign]
    statistics.flush(2.0)
    assert index.view().operations.counters()["uploaded_bytes"] == 500
