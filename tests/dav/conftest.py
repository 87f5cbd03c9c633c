"""A real share on a real state directory, and clients of the application over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.accounts.rights import Principal
from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp
from davfusion.dav.request import Environ
from davfusion.store.memory import MemoryStore
from tests.dav.client import Client


def by_header(environ: Environ) -> Principal | None:
    """Signs in whoever the header X-User names; nobody is asked to."""
    return Principal(environ.get("HTTP_X_USER", "anonymous"))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def share(store: MemoryStore, tmp_path: Path) -> Iterator[Share]:
    share = Share(tmp_path / "state", store)
    yield share
    share.close()


@pytest.fixture
def app(share: Share) -> DavFusionApp:
    return DavFusionApp({"/": share}, authenticate=by_header)


@pytest.fixture
def client(app: DavFusionApp) -> Client:
    return Client(app)
