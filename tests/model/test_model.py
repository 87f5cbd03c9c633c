"""The model: whatever happens, the share and the store converge and no acknowledged write is missing.

In the suite 300 runs of 100 steps are made, and a shorter hunt by hypothesis, which shrinks what it finds;
`pytest -m slow tests/model` hunts longer. Seeds that failed once stay in REGRESSIONS.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from davfusion.cache import synced
from davfusion.cache.index import View
from davfusion.cache.index.contents import Contents
from davfusion.cache.index.operations import Operations
from davfusion.sync import authors, planner
from davfusion.sync import situation as situations
from tests.model.runs import CLIMATES, PATHS, run
from tests.model.world import World

KINDS = ("folders", "bucket")
RUNS = 300
LONG_RUNS = int(os.environ.get("DAVFUSION_MODEL_RUNS", "3000"))
STEPS = 100

REGRESSIONS = [
    ("folders", "edited", 2),  # a change in a deleted folder came back without its folder, and went again
    ("bucket", "interleaved", 0),  # a folder took the place of a file whose object then stayed for ever
    ("bucket", "everything", 0),
    ("bucket", "calm", 0),  # members of a deleted folder were forgotten again and again
    ("folders", "everything", 2),
    ("bucket", "calm", 1014),  # a renamed folder took the place of a file, whose object was forgotten
    ("bucket", "edited", 7006),  # what was deleted with another folder than it lay in did not come back when changed
    ("folders", "edited", 4017),  # a folder's rename replaced a file that was new in the store
    ("bucket", "interleaved", 5035),  # a folder with nothing of its own in the store did not gather its members
    ("bucket", "edited", 2055),  # a file was given a folder's marker
    ("folders", "edited", 3034),  # a folder that could not be deleted was taken for one never seen, and emptied
    ("folders", "failing", 3056),  # a rename in doubt whose bytes were gone with it was parked
    ("bucket", "interleaved", 2054),  # a folder made while it was moved marked the root as scattered
    ("bucket", "edited-under-fire", 50080),  # saved where a renamed folder had left an object: refused for ever
    ("bucket", "edited-under-fire", 60089),  # (not at rest yet) a marker went, not the file beside it
    ("bucket", "everything", 90027),  # a deleted folder waited for what lay in its successor, and was asked for ever
    ("folders", "stale", 73021),  # moved while it was copied, both in doubt: taken for gone, the copy for a conflict
    ("folders", "edited-under-fire", 20165),  # (of the account) deleted unseen in a folder whose rename was in doubt
    ("folders", "edited-under-fire", 60007),  # (not at rest yet) a folder came back, to be listed
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def cases(runs: int) -> list[tuple[str, str, int]]:
    combinations = [(kind, climate) for kind in KINDS for climate in CLIMATES]
    return [(*combinations[number % len(combinations)], 1000 + number // len(combinations)) for number in range(runs)]


@pytest.mark.parametrize(("kind", "climate", "seed"), REGRESSIONS)
def test_what_failed_once(kind: str, climate: str, seed: int) -> None:
    run(kind, climate, seed, STEPS).close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("climate", CLIMATES)
def test_runs(kind: str, climate: str) -> None:
    acknowledged = 0
    for case in cases(RUNS):
        if case[:2] == (kind, climate):
            world = run(*case, STEPS)
            acknowledged += world.acknowledged
            world.close()
    assert acknowledged > 50, "nothing was acknowledged, so nothing was proved"


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_many_runs() -> None:
    for kind, climate, seed in cases(LONG_RUNS):
        run(kind, climate, seed + 10_000, STEPS).close()


class Machine(RuleBasedStateMachine):
    """The same world, driven and shrunk by hypothesis."""

    world: World

    @initialize(kind=st.sampled_from(KINDS), climate=st.sampled_from(sorted(CLIMATES)), seed=st.integers(0, 10_000))
    def begin(self, kind: str, climate: str, seed: int) -> None:
        self.world = World(kind, seed, CLIMATES[climate])

    @rule(path=st.sampled_from(PATHS))
    def put(self, path: str) -> None:
        self.world.put(path)

    @rule(path=st.sampled_from(PATHS))
    def make_folder(self, path: str) -> None:
        self.world.make_folder(path)

    @rule(path=st.sampled_from(PATHS))
    def delete(self, path: str) -> None:
        self.world.delete(path)

    @rule(source=st.sampled_from(PATHS), destination=st.sampled_from(PATHS))
    def move(self, source: str, destination: str) -> None:
        self.world.move(source, destination)

    @rule(source=st.sampled_from(PATHS), destination=st.sampled_from(PATHS))
    def copy(self, source: str, destination: str) -> None:
        self.world.copy(source, destination)

    @rule(path=st.sampled_from(PATHS))
    def read(self, path: str) -> None:
        self.world.read(path)

    @rule(path=st.sampled_from(PATHS))
    def look(self, path: str) -> None:
        self.world.look(path)

    @rule(seconds=st.sampled_from((1.0, 6.0, 25.0, 400.0)))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(steps=st.sampled_from((1, 3, 1000)))
    def work(self, steps: int) -> None:
        self.world.work(steps)

    @rule()
    def tidy(self) -> None:
        self.world.tidy()

    @rule()
    def evict(self) -> None:
        self.world.evict()

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule(path=st.sampled_from(PATHS))
    def edit(self, path: str) -> None:
        if self.world.chaos.editor:
            self.world.edit(path)

    @rule(path=st.sampled_from(PATHS))
    def edit_delete(self, path: str) -> None:
        if self.world.chaos.editor:
            self.world.edit_delete(path)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.converge()
            self.world.check()
        finally:
            self.world.close()


def hunt(examples: int, steps: int) -> None:
    run_state_machine_as_test(Machine, settings=settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck)))


@pytest.mark.timeout(600)
def test_hunt() -> None:
    hunt(examples=60, steps=50)


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_long_hunt() -> None:
    hunt(examples=1000, steps=STEPS)


# -- the model finds what it is there for --------------------------------------------------------------


def found(climates: tuple[str, ...]) -> str | None:
    """What the first failing run says."""
    for seed in range(60):
        for kind in KINDS:
            for climate in climates:
                try:
                    run(kind, climate, seed, STEPS).close()
                except AssertionError as error:
                    return str(error)
    return None


def test_finds_an_upload_that_commits_although_the_node_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = synced.wrote_file

    def wrong(view: View, node: int, **fact: object) -> None:
        right(view, node, **fact)  # type: ignore[arg-type]
        record = view.nodes.get(node)
        if record is not None and record.content is not None:
            view.nodes.update(node, content=fact["content"])

    monkeypatch.setattr(synced, "wrote_file", wrong)
    assert found(("interleaved",)) is not None


def test_finds_a_refresh_that_wins_over_a_newer_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Operations, "unsettled_names", lambda self, folder, since: set())
    assert found(("interleaved", "everything")) is not None


def test_finds_an_overwrite_without_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "_if_version", lambda version: None)
    assert found(("edited", "edited-under-fire")) is not None


def test_finds_an_eviction_of_dirty_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Contents, "evictable", lambda self, limit: self._many("held > 0 LIMIT ?", (limit,)))
    monkeypatch.setattr(Contents, "evict", lambda self, content: self.lose(content) is None)
    assert found(("calm", "everything")) is not None


def test_finds_a_doubtful_write_that_is_not_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authors.Authors, "_is_ours", lambda self, operation, shown: False)
    assert found(("failing", "crashing")) is not None


def test_finds_a_needed_object_that_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(situations, "_needed_by", lambda view, record: ())
    assert found(("calm", "everything", "interleaved")) is not None
