"""Offices that are closed at the end of their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davfusion.store.interface import Store
from davfusion.store.memory import MemoryStore
from tests.model.bucket import Bucket
from tests.sync.place import Place, make
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


@pytest.fixture(params=["folders", "bucket"])
def inside(request: pytest.FixtureRequest) -> Store:
    return MemoryStore() if request.param == "folders" else Bucket()


@pytest.fixture
def place(make_office: MakeOffice, inside: Store) -> Place:
    return make(make_office, inside)


@pytest.fixture
def bucket_place(make_office: MakeOffice) -> Place:
    return make(make_office, Bucket())
