"""The model: nothing acknowledged is lost here, and after each entry the store holds a whole share."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from davfusion.cache.index import View, contents
from davfusion.chunks.lines import RemovalLine
from davfusion.sync.chunked import carriage, collector, cut, engine, scribe, snapshots
from davfusion.sync.chunked.collector import Collector
from davfusion.sync.chunked.scribe import Scribe
from tests.sync.chunked.runs import CLIMATES, KINDS, run

pytestmark = pytest.mark.usefixtures("in_order")

REGRESSIONS = [
    ("blunt", "crashing", 115),  # a block that was never written was taken for one that is about to go
    ("blunt", "interleaved", 123),  # a block was wanted while it was being deleted
    ("bucket", "interleaved", 1009),  # what a content replaced stayed for ever, as that was evicted before its flush
]
RUNS = 6
LONG_RUNS = int(os.environ.get("DAVFUSION_MODEL_RUNS", "200"))


@pytest.mark.parametrize(("kind", "climate", "seed"), REGRESSIONS)
def test_what_failed_once(kind: str, climate: str, seed: int) -> None:
    run(kind, climate, seed, 120).close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("climate", CLIMATES)
def test_runs(kind: str, climate: str) -> None:
    acknowledged = journalled = deleted = 0
    for seed in range(RUNS):
        world = run(kind, climate, seed)
        acknowledged += world.acknowledged
        journalled += world.journalled
        deleted += len(world.judged.deleted)
        world.close()
    assert acknowledged > 100 and journalled > 30 and deleted > 10, "too little happened to prove anything"


@pytest.mark.slow
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("climate", CLIMATES)
def test_many_runs(kind: str, climate: str) -> None:
    for seed in range(LONG_RUNS):
        run(kind, climate, seed + 10_000, 100).close()


# -- the model finds what it is there for --------------------------------------------------------------


def found(*climates: str) -> str | None:
    """What the first failing run says."""
    for seed in range(40):
        for kind in KINDS:
            for climate in climates:
                try:
                    run(kind, climate, seed).close()
                except AssertionError as error:
                    return str(error)
    return None


def test_finds_facts_that_are_recorded_before_the_entry_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Scribe.write

    def wrong(self: Scribe, news: cut.Cut) -> bool:
        self._index.write(lambda view: scribe.record_facts(view, news.lines()))
        return right(self, news)
    monkeypatch.setattr(Scribe, "write", wrong)
    assert found("failing", "crashing") is not None


def test_finds_an_object_that_goes_although_the_journal_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Collector, view: View) -> None:
        for each in view.objects.all(collector.LEAVING):
            view.objects.set_state(each.path, collector.DELETING, view.now())
    monkeypatch.setattr(Collector, "_begin_deleting", wrong)
    assert found("calm", "failing") is not None


def test_finds_a_removal_before_what_replaces_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cut.cut

    def wrong(view: View) -> cut.Cut:
        news, leaving = right(view), [record for record in view.journalled.differing() if not record.is_local]
        removals = tuple(RemovalLine(record.id) for record in leaving if record.is_synced)
        return cut.Cut(news.objects, news.contents, news.nodes, removals, news.releases)
    monkeypatch.setattr(engine, "cut", wrong)
    assert found("failing", "losing") is not None


def test_finds_a_content_forgotten_while_an_entry_that_names_it_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contents._MAY_BE_JOURNALLED in contents._UNREFERENCED
    monkeypatch.setattr(contents, "_UNREFERENCED", contents._UNREFERENCED.replace(contents._MAY_BE_JOURNALLED, "0"))
    assert found("failing", "crashing", "everything") is not None


def test_finds_an_object_that_the_store_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriage.Carriage, "_see", lambda self, path, size: None)
    assert found("losing") is not None


def test_finds_an_entry_that_the_store_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scribe, "_see", lambda self, path, size: None)
    assert found("losing") is not None


def test_finds_a_snapshot_with_nodes_that_hang_in_the_air(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots._Reached, "has", lambda self, folder: True)
    assert found("interleaved", "crashing", "everything") is not None


def test_finds_rows_of_a_forgotten_content_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    right = contents.Contents.remove_all_unreferenced

    def wrong(self: contents.Contents, ids: Sequence[int]) -> list[str]:
        parts = [row for content in ids
                 for row in self._connection.execute("SELECT * FROM part WHERE content = ?", (content,))]
        files = right(self, ids)
        self._connection.executemany("INSERT OR IGNORE INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?)", parts)
        return files
    monkeypatch.setattr(contents.Contents, "remove_all_unreferenced", wrong)
    assert found("calm") is not None
