"""One thread for each thing, so that a run is the same each time; small numbers, so that everything happens often."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from davfusion.chunks import journal
from davfusion.sync.chunked import carriage, snapshots


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(carriage, "AHEAD", 1)
    monkeypatch.setattr(journal, "REQUESTS", 1)
    monkeypatch.setattr(snapshots, "ENTRIES", 3)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
