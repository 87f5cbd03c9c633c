"""The stores that the contract is checked on. Servers live as long as the session; each store gets a prefix."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from davfusion.store.address import open_store
from davfusion.store.faults import FaultyStore, no_faults
from davfusion.store.interface import Store
from davfusion.store.statistics import StatisticsStore
from tests.servers import S3Server, moto_s3, rclone_s3

BACKENDS = ("memory", "local", "moto", "rclone")
WRAPPERS: dict[str, Callable[[Store], Store]] = {
    "plain": lambda store: store,
    "statistics": StatisticsStore,
    "faults": lambda store: FaultyStore(store, no_faults),
}
BUCKET = "bucket"


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with moto_s3() as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        server.make_bucket(BUCKET)
        yield server


@dataclass
class Opener:
    """Opens stores of one kind; each call gives an empty one."""

    backend: str
    request: pytest.FixtureRequest
    directory: Path
    prefixes: Iterator[str]

    def __call__(self) -> Store:
        prefix = next(self.prefixes)
        match self.backend:
            case "memory":
                return open_store("memory://", environ={})
            case "local":
                root = self.directory / prefix
                root.mkdir()
                return open_store(str(root), environ={})
        server: S3Server = self.request.getfixturevalue(self.backend)
        options = {} if self.backend == "moto" else {"conditional": "no"}
        return open_store(server.url(BUCKET, prefix, **options), environ=server.environ)


PREFIXES = itertools.count()


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return Opener(request.param, request, tmp_path, (f"p{number}" for number in PREFIXES))


@pytest.fixture
def backend(opener: Opener) -> str:
    """Which backend it is, for what only one server does wrong."""
    return opener.backend


@pytest.fixture
def plain(opener: Opener) -> Iterator[Store]:
    """A backend without a wrapper."""
    store = opener()
    yield store
    store.close()


@pytest.fixture(params=WRAPPERS)
def store(request: pytest.FixtureRequest, opener: Opener) -> Iterator[Store]:
    """A backend, plain and in each wrapper."""
    store = WRAPPERS[request.param](opener())
    yield store
    store.close()


@pytest.fixture
def put(store: Store) -> Callable[[str, bytes], str]:
    return putter(store)


def putter(store: Store) -> Callable[[str, bytes], str]:
    """A function that stores bytes at a path and returns the version."""

    def put(path: str, data: bytes) -> str:
        version = store.store_fileobject(io.BytesIO(data), path).version
        assert version
        return version

    return put


@pytest.fixture
def putter_of() -> Callable[[Store], Callable[[str, bytes], str]]:
    return putter
