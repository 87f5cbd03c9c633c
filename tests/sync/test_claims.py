"""A share is served in the layout in which it lies in its store, by the state directory that knows it, or not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.cache.index import Index
from davfusion.chunks.marker import read_marker
from davfusion.chunks.volume import LEASE, MARKER
from davfusion.store.errors import TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.store.wrapper import WrappedStore
from davfusion.sync.claims import SHARE, LayoutError, claim_chunked, claim_plain


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index(tmp_path / "index.db")
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Index]:
    opened = Index(tmp_path / "other.db")
    yield opened
    opened.close()


def put(store: MemoryStore, path: str, data: bytes = b"x") -> None:
    store.store_fileobject(io.BytesIO(data), path)


def test_an_empty_store_becomes_a_chunked_share_once(store: MemoryStore, index: Index) -> None:
    marker = claim_chunked(store, index)
    assert read_marker(store) == marker == claim_chunked(store, index)
    assert index.view().operations.meta(SHARE) == marker.share


def test_a_lease_does_not_make_a_store_occupied(store: MemoryStore, index: Index) -> None:
    put(store, LEASE)
    claim_chunked(store, index)


@pytest.mark.parametrize("path", ["/file", "/folder/file", MARKER])
def test_a_store_with_files_is_not_made_chunked(store: MemoryStore, index: Index, path: str) -> None:
    put(store, path, b"{}")
    with pytest.raises(LayoutError, match="convert"):
        claim_chunked(store, index)
    assert store.get_file(path) == b"{}"
    assert index.view().operations.meta(SHARE) is None


def test_a_chunked_store_is_not_served_as_plain(store: MemoryStore, index: Index, other: Index) -> None:
    claim_chunked(store, index)
    with pytest.raises(LayoutError, match="--layout chunked"):
        claim_plain(store, other)
    with pytest.raises(LayoutError, match="--layout chunked"):
        claim_plain(store, index)


def test_a_plain_state_directory_is_not_served_as_chunked(store: MemoryStore, index: Index) -> None:
    claim_plain(store, index)
    claim_plain(store, index)
    with pytest.raises(LayoutError, match="--layout plain"):
        claim_chunked(store, index)
    assert read_marker(store) is None


def test_a_plain_store_is_asked_once_in_the_life_of_an_index(store: MemoryStore, index: Index) -> None:
    asked: list[Call] = []

    def note(call: Call) -> None:
        asked.append(call)
    for _ in range(3):
        claim_plain(FaultyStore(store, note), index)
    assert len(asked) == 1


def test_a_share_that_this_state_directory_does_not_know_is_recovered_first(store: MemoryStore, index: Index,
                                                                             other: Index) -> None:
    claim_chunked(store, index)
    put(store, "/journal/000000000001.json.gz")
    with pytest.raises(LayoutError, match="davfusion recover"):
        claim_chunked(store, other)
    claim_chunked(store, index)


def test_another_share_is_refused(store: MemoryStore, index: Index, other: Index) -> None:
    claim_chunked(store, index)
    elsewhere = MemoryStore()
    claim_chunked(elsewhere, other)
    with pytest.raises(LayoutError, match="another share"):
        claim_chunked(elsewhere, index)


def test_a_share_without_its_marker_is_not_begun_anew(store: MemoryStore, index: Index) -> None:
    claim_chunked(store, index)
    store.delete(MARKER, is_dir=False)
    with pytest.raises(LayoutError, match="not in the store any more"):
        claim_chunked(store, index)
    assert not store.exists(MARKER)


def test_a_store_that_cannot_be_asked_decides_nothing(store: MemoryStore, index: Index) -> None:
    down = FaultyStore(store, lambda call: Fault(before=TemporaryError("down")))
    for claim in (claim_plain, claim_chunked):
        with pytest.raises(TemporaryError):
            claim(down, index)
    assert index.view().operations.meta("layout") is None
    claim_chunked(store, index)


def test_a_marker_whose_answer_was_lost_is_found(store: MemoryStore, index: Index) -> None:
    failing = [Fault(after=TemporaryError("lost"))]

    def fault(call: Call) -> Fault | None:
        return failing.pop() if failing and call.verb == "store_fileobject" else None
    with pytest.raises(TemporaryError):
        claim_chunked(FaultyStore(store, fault), index)
    assert claim_chunked(store, index) == read_marker(store)


class Racing(WrappedStore):
    """Somebody else makes the marker just before us."""

    def __init__(self, store: MemoryStore, other: Index) -> None:
        super().__init__(store)
        self._inner, self._other = store, other

    def store_fileobject(self, fileobject, path, **options):
        claim_chunked(self._inner, self._other)
        return super().store_fileobject(fileobject, path, **options)


def test_two_that_begin_at_once_make_one_share(store: MemoryStore, index: Index, other: Index) -> None:
    assert claim_chunked(Racing(store, other), index) == claim_chunked(store, other)
