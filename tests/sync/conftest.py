"""Offices that are closed at the end of their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davfusion.store.interface import Store
from tests.sync.world import Office

MakeOffice = Callable[..., Office]


@pytest.fixture
def make_office(tmp_path: Path) -> Iterator[MakeOffice]:
    opened: list[Office] = []

    def make(store: Store, state: str = "state", **options: object) -> Office:
        office = Office(tmp_path / state, store, **options)  # type: ignore[arg-type]
        opened.append(office)
        return office

    yield make
    for office in opened:
        office.close()
