"""Contents that lie in parts of objects are read whole, whatever moves or breaks meanwhile."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pytest

from davfusion.cache.index import Place
from davfusion.cache.parts import PartSource
from davfusion.store.errors import ConflictError, NotFoundError, PermanentError
from davfusion.store.memory import MemoryStore
from davfusion.store.wrapper import WrappedStore
from davfusion.sync.chunked.factory import Packing
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office


def content_of(office: Office, path: str) -> int:
    node = office.share.find(path)
    assert node is not None and node.content is not None
    return node.content


def moved(office: Office, content: int) -> list[Place]:
    """Copy the objects of a content to other places and note those; the old objects are gone. Returns the old."""
    view = office.index.view()
    old = view.objects.places(content)
    for number, place in enumerate(old):
        path = f"/archives/{number:032x}.zip"
        data = office.store.get_file(place.path)
        office.store.store_fileobject(io.BytesIO(data), path)
        office.index.write(lambda view, path=path, data=data: view.objects.insert(  # type: ignore[misc]
            path, size=len(data), payload=len(data), sha256=None, state="held", now=0.0, journalled=False))
    office.index.write(lambda view: view.objects.keep(content, None, [
        place._replace(path=f"/archives/{number:032x}.zip") for number, place in enumerate(old)]))
    for path in {place.path for place in old}:
        office.store.delete(path, is_dir=False)
    return old


class Breaking(WrappedStore):
    """Gives out a piece of an object, and says then that the object is gone; `meanwhile` runs before that."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.meanwhile = lambda: None

    def read(self, path, start=0, stop=None, *, if_version=None, interrupt=None) -> Iterator[bytes]:
        if not path.startswith("/blocks"):
            yield from self._store.read(path, start, stop)
            return
        yield self._store.get_range(path, start, start + 100)
        self.meanwhile()
        raise NotFoundError("Gone", path)


@pytest.mark.parametrize("size", [500, 2500])
def test_what_moved_since_it_was_looked_up_is_found(office: Office, size: int) -> None:
    data = os.urandom(size)
    office.save("/x", data)
    office.engine.run_due()
    office.share.space.evict(10**12)
    content = content_of(office, "/x")
    source, asked = PartSource(office.index, office.store), []
    look_up = source._places
    old = moved(office, content)

    def places(content: int) -> list[Place]:
        asked.append(content)
        return old if len(asked) == 1 else look_up(content)
    source._places = places  # type: ignore[method-assign]
    assert b"".join(source.read(content, 0, size)) == data
    asked.clear()
    row = office.index.view().contents.get(content)
    assert row is not None and source.read_small(row, 10_000)[content] == data


def test_no_byte_comes_twice_when_an_object_goes_in_the_middle_of_reading(make_office: MakeOffice) -> None:
    """The part was read again from its beginning."""
    store, data = MemoryStore(), os.urandom(2500)
    office = make_office(store, packing=Packing(pack_below=10, block_size=10_000_000, compress=False))
    office.save("/x", data)
    office.engine.run_due()
    content, breaking = content_of(office, "/x"), Breaking(store)
    breaking.meanwhile = lambda: moved(office, content) and None
    assert b"".join(PartSource(office.index, breaking).read(content, 1, 2400)) == data[1:2400]


def test_an_object_that_is_lost_is_told_as_what_it_is(office: Office) -> None:
    office.save("/x", b"1" * 500)
    office.engine.run_due()
    office.share.space.evict(10**12)
    for path in office.image().objects:
        office.store.delete(path, is_dir=False)
    with pytest.raises(PermanentError, match="missing in the store"):
        office.read("/x")
    assert office.share.find("/x") is not None


def test_damage_is_told_and_reaches_nobody(office: Office) -> None:
    for name in "12":
        office.save(f"/{name}", name.encode() * 500)
    office.engine.run_due()
    office.share.space.evict(10**12)
    (archive,) = office.image().objects
    (place,) = office.index.view().objects.places(content_of(office, "/1"))
    data = bytearray(office.store.get_file(archive))
    data[place.start + 5] ^= 1
    office.store.store_fileobject(io.BytesIO(bytes(data)), archive)
    with pytest.raises(PermanentError, match="check"):
        office.read("/1")
    assert office.read("/2") == b"2" * 500


def test_a_content_that_is_forgotten_is_no_damage(office: Office) -> None:
    with pytest.raises(ConflictError):
        list(PartSource(office.index, office.store).read(12345, 0, 1))


@pytest.mark.parametrize("compress", [False, True])
def test_any_range_of_any_packing(make_office: MakeOffice, compress: bool) -> None:
    office = make_office(packing=Packing(pack_below=1000, archive_size=4000, block_size=700, compress=compress))
    files = {"/small": b"abc" * 300, "/large": os.urandom(2500), "/blocks": b"1" * 2100, "/empty": b""}
    for path, data in files.items():
        office.save(path, data)
    office.engine.run_due()
    office.share.space.evict(10**12)
    source = PartSource(office.index, office.store)
    for path, data in files.items():
        for start in (0, 1, 699, 700, 701, 1400):
            for stop in (start, start + 1, 700, 701, 2099, len(data)):
                if start <= stop <= len(data):
                    assert b"".join(source.read(content_of(office, path), start, stop)) == data[start:stop]
