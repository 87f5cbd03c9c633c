"""The model: whatever happens, nothing acknowledged is lost here, and after each entry the store holds a whole share."""

from __future__ import annotations

import os

import pytest

from tests.sync.chunked.runs import CLIMATES, KINDS, run

pytestmark = pytest.mark.usefixtures("in_order")

RUNS = 8
LONG_RUNS = int(os.environ.get("DAVFUSION_MODEL_RUNS", "200"))


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
    assert acknowledged > 100 and journalled > 40 and deleted > 20, "too little happened to prove anything"


@pytest.mark.slow
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("climate", CLIMATES)
def test_many_runs(kind: str, climate: str) -> None:
    for seed in range(LONG_RUNS):
        run(kind, climate, seed + 10_000, 100).close()
