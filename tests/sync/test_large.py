"""Large folders, deep trees, long backlogs: nothing is asked twice, and the time per file does not grow."""

from __future__ import annotations

import time

import pytest

from davfusion.store.memory import MemoryStore
from tests.model.bucket import Bucket
from tests.sync.conftest import MakeOffice
from tests.sync.world import Observed, Office, save, stored, until


def fill(office: Office, folder: str, count: int) -> None:
    """A folder with so many empty files in it, all to be uploaded."""
    office.share.make_folder(folder)

    def change(view):  # type: ignore[no-untyped-def]
        parent = view.nodes.resolve(folder).id
        for number in range(count):
            content = view.contents.insert(size=0, used=0)
            view.nodes.insert(folder=0, parent=parent, name=f"{number:06}", content=content, modified=0, created=0,
                              due=view.now())
    office.share.index.write(change)


@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_a_thousand_files_are_a_thousand_requests_each_way(
        make_office: MakeOffice, inside: type[MemoryStore] | type[Bucket]) -> None:
    store = Observed(inside())
    office = make_office(store)
    fill(office, "/d", 1000)
    office.carry_all()
    folders = store.capabilities.folders
    assert store.verbs() == {"store_fileobject": 1000} | ({"keep_directory": 1} if folders else {})
    store.requests.clear()
    office.share.delete("/d")
    office.carry_all()
    assert store.verbs() == {"delete": 1000} | ({"unkeep_directory": 1} if folders else {})
    assert stored(store) == {}


def test_a_folder_renamed_where_the_store_can_is_one_request(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store)
    fill(office, "/d", 500)
    office.carry_all()
    store.requests.clear()
    office.share.move("/d", "/e", overwrite=False)
    office.carry_all()
    assert store.verbs() == {"move": 1}


def test_a_folder_renamed_object_by_object_is_resumable_at_every_point(make_office: MakeOffice) -> None:
    bucket = Bucket()
    store = Observed(bucket)
    office = make_office(store)
    office.share.make_folder("/old")
    texts = {f"{number:03}": b"text %d" % number for number in range(120)}
    for name, text in texts.items():
        save(office.share, f"/old/{name}", text)
    office.carry_all()
    office.share.move("/old", "/new", overwrite=False)
    store.requests.clear()
    for _ in range(300):
        office.engine.run_due(limit=7)
        assert set(texts.values()) <= {thing.data for thing in bucket.objects.values()}, "a file is nowhere"
        if office.settled():
            break
        office = make_office(store)
    assert stored(bucket) == {"/new": None} | {f"/new/{name}": text for name, text in texts.items()}
    assert store.verbs() == {"store_fileobject": 120, "delete": 120}


def test_a_folder_that_is_half_renamed_is_no_news_from_the_store(make_office: MakeOffice) -> None:
    bucket = Bucket()
    office = make_office(bucket)
    office.share.make_folder("/old")
    for number in range(4):
        save(office.share, f"/old/{number}", b"%d" % number)
    office.carry_all()
    office.share.move("/old", "/new", overwrite=False)
    while "/new/0" not in bucket.objects:
        office.engine.run_due(limit=1)
    assert "/old/3" in bucket.objects
    office.share.lister.refresh(1)
    assert [node.name for node in office.share.children(office.share.find("/"))] == ["new"]  # type: ignore[arg-type]
    office.carry_all()
    assert stored(bucket) == {"/new": None} | {f"/new/{number}": b"%d" % number for number in range(4)}


@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
@pytest.mark.parametrize("kept", ["whole", "evicted"])
def test_a_file_that_takes_the_place_of_its_own_folder(
        make_office: MakeOffice, inside: type[MemoryStore] | type[Bucket], kept: str) -> None:
    office = make_office(Observed(inside()))
    office.share.make_folder("/c")
    office.carry_all()
    save(office.share, "/c/x", b"data")
    save(office.share, "/c/y", b"more")
    office.carry_all()
    office.engine.tidy()
    if kept == "evicted":
        office.share.space.evict(10**12)
    office.share.move("/c/x", "/t", overwrite=False)
    office.share.delete("/c")
    office.share.move("/t", "/c", overwrite=False)
    office.engine.run_due(limit=1000)
    office.carry_all()
    assert stored(office.store) == {"/c": b"data"}


def test_a_folder_swapped_with_another_in_a_bucket(make_office: MakeOffice) -> None:
    bucket = Bucket()
    office = make_office(bucket)
    for folder in ("/a", "/b"):
        office.share.make_folder(folder)
        for number in range(50):
            save(office.share, f"{folder}/{number}", f"{folder} {number}".encode())
    office.carry_all()
    office.share.space.evict(10**12)
    office.share.move("/a", "/c", overwrite=False)
    office.share.move("/b", "/a", overwrite=False)
    office.share.move("/c", "/b", overwrite=False)
    office.carry_all()
    found = stored(bucket)
    assert len(found) == 102
    assert all(found[f"/a/{number}"] == f"/b {number}".encode() for number in range(50))


@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_a_deep_tree(make_office: MakeOffice, inside: type[MemoryStore] | type[Bucket]) -> None:
    office = make_office(inside())
    path = ""
    for level in range(100):
        path += f"/{level}"
        office.share.make_folder(path)
    save(office.share, path + "/f", b"deep")
    office.carry_all()
    assert stored(office.store)[path + "/f"] == b"deep"
    office.share.move("/0", "/other", overwrite=False)
    office.carry_all()
    assert stored(office.store)["/other" + path.removeprefix("/0") + "/f"] == b"deep"
    office.share.delete("/other")
    office.carry_all()
    assert stored(office.store) == {}


@pytest.mark.parametrize("inside", [MemoryStore, Bucket])
def test_many_threads_and_everything_at_once(
        make_office: MakeOffice, inside: type[MemoryStore] | type[Bucket]) -> None:
    store = Observed(inside())
    office = make_office(store)
    expected: dict[str, bytes] = {}
    with office.working():
        for number in range(150):
            folder = f"/d{number % 5}"
            if number < 5:
                office.share.make_folder(folder)
            save(office.share, f"{folder}/{number}", b"first")
            save(office.share, f"{folder}/{number}", b"text %d" % number)
            expected[f"{folder}/{number}"] = b"text %d" % number
            if number % 7 == 0:
                office.share.move(f"{folder}/{number}", f"{folder}/moved {number}", overwrite=False)
                expected[f"{folder}/moved {number}"] = expected.pop(f"{folder}/{number}")
            if number % 11 == 0:
                last = f"{folder}/{number}" if number % 7 else f"{folder}/moved {number}"
                office.share.delete(last)
                del expected[last]
        office.share.move("/d0", "/d5", overwrite=False)
        office.share.copy("/d1", "/d6", overwrite=False)
        until(office.settled)
    found = {path: data for path, data in stored(store).items() if data is not None}
    copied = {path.replace("/d1/", "/d6/"): data for path, data in expected.items() if path.startswith("/d1/")}
    assert found == {path.replace("/d0/", "/d5/"): data for path, data in expected.items()} | copied


def test_the_time_per_file_does_not_grow_with_the_backlog(make_office: MakeOffice) -> None:
    def seconds_per_file(count: int) -> float:
        office = make_office(Bucket(), f"state {count}")
        fill(office, "/d", count)
        began = time.process_time()
        office.carry_all()
        return (time.process_time() - began) / count
    seconds_per_file(100)
    assert seconds_per_file(4000) < 2.0 * seconds_per_file(400)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_thousand_files(make_office: MakeOffice) -> None:
    store = Observed(Bucket())
    office = make_office(store, workers=16)
    fill(office, "/d", 20_000)
    with office.working():
        until(office.settled, deadline=200)
        office.share.move("/d", "/e", overwrite=False)
        until(office.settled, deadline=300)
        office.share.delete("/e")
        until(office.settled, deadline=200)
    assert store.verbs()["store_fileobject"] == 40_000
    assert stored(store) == {}
