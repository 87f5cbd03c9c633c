"""One thread for each thing, so that a run is the same each time; small numbers, so that everything happens often."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davfusion.chunks import journal
from davfusion.store.interface import Store
from davfusion.sync.chunked import carriage, snapshots
from tests.sync.chunked.office import Office

MakeOffice = Callable[..., Office]


@pytest.fixture
def make_office(tmp_path: Path) -> Iterator[MakeOffice]:
    opened: list[Office] = []

    def make(store: Store | None = None, state: str = "state", **options: object) -> Office:
        office = Office(tmp_path / state, store, **options)  # type: ignore[arg-type]
        opened.append(office)
        return office

    yield make
    for office in opened:
        office.close()


@pytest.fixture
def office(make_office: MakeOffice) -> Office:
    return make_office()


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(carriage, "AHEAD", 1)
    monkeypatch.setattr(journal, "REQUESTS", 1)
    monkeypatch.setattr(snapshots, "ENTRIES", 3)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
