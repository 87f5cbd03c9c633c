"""The marker: ours is known, a foreign file of its name is not ours, a newer format is refused."""

import io
import json

import pytest

from davfusion.chunks.errors import DamagedError, FormatError
from davfusion.chunks.marker import Marker, create_marker, read_marker
from davfusion.chunks.volume import MARKER
from davfusion.store.errors import AlreadyExistsError, PermissionDeniedError
from davfusion.store.faults import Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from tests.chunks.entries import SHARE

OURS = {"type": "davfusion share", "format": 1, "layout": "chunked", "share": SHARE, "created": 1.5, "filters": []}


def store_with(content):
    store = MemoryStore()
    store.store_fileobject(io.BytesIO(content), MARKER)
    return store


def changed(**fields):
    return store_with(json.dumps({**OURS, **fields}).encode())


def test_a_marker_comes_back(plain):
    assert read_marker(plain) is None
    marker = Marker(share=SHARE, created=1.5)
    create_marker(plain, marker)
    assert read_marker(plain) == marker
    with pytest.raises(AlreadyExistsError):
        create_marker(plain, Marker("00" * 16, 2.0))
    assert read_marker(plain) == marker


def test_the_form_is_the_documented_one():
    store = MemoryStore()
    create_marker(store, Marker(SHARE, 1.5))
    assert json.loads(store.get_file(MARKER)) == OURS


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"5", b"{}", b"\xff\xfe", b'{"type":"other","format":1}', b'{"format":1,"layout":"chunked"}',
    b"x" * 200_000, json.dumps({**OURS, "filler": "x" * 100_000}).encode(),
    json.dumps(OURS).encode() + b" " * 100_000])
def test_a_foreign_file_is_no_marker(content):
    assert read_marker(store_with(content)) is None


@pytest.mark.parametrize("fields", [
    {"format": 2}, {"format": "1"}, {"format": True}, {"format": None}, {"layout": "striped"}, {"layout": None},
    {"filters": ["zstd"]}, {"filters": ["age", "zstd"]}])
def test_what_is_not_known_asks_for_an_update(fields):
    with pytest.raises(FormatError, match="update davfusion"):
        read_marker(changed(**fields))


@pytest.mark.parametrize("fields", [
    {"share": "x"}, {"share": None}, {"created": "now"}, {"created": True}, {"filters": None}, {"filters": [5]}])
def test_a_marker_of_ours_that_is_not_in_order_is_damage(fields):
    with pytest.raises(DamagedError):
        read_marker(changed(**fields))


def test_a_marker_that_nobody_could_read_is_not_made():
    store = MemoryStore()
    for marker in (Marker("x", 1.0), Marker(SHARE, float("nan")), Marker(SHARE, 1.0, ("zstd",))):
        with pytest.raises((DamagedError, FormatError, ValueError)):
            create_marker(store, marker)
    assert read_marker(store) is None


def test_a_failing_store_is_not_an_unmarked_one():
    store = FaultyStore(MemoryStore(), lambda call: Fault(before=PermissionDeniedError("Planned")))
    with pytest.raises(PermissionDeniedError):
        read_marker(store)
