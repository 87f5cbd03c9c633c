"""Markers of empty folders in a bucket: none stays behind, and no folder goes with its last file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.cache import synced
from davfusion.cache.listing import Freshness
from davfusion.cache.node import ROOT_ID
from davfusion.cache.share import CacheSettings, Share
from davfusion.store.errors import TemporaryError
from davfusion.sync.engine import Engine
from tests.model.bucket import MARKER, Bucket
from tests.sync.place import Place
from tests.sync.world import save


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def share(tmp_path: Path, bucket: Bucket) -> Iterator[Share]:
    share = Share(tmp_path, bucket, settings=CacheSettings(upload_delay=0.0, freshness=Freshness(revalidate_after=0.0)))
    yield share
    share.close()


def put(share: Share, path: str) -> None:
    with share.receive(1) as incoming:
        incoming.write(b"x")
        share.put(path, incoming)


def test_a_marker_goes_when_something_else_implies_the_folder(share: Share, bucket: Bucket) -> None:
    engine = Engine(share)
    share.make_folder("/folder")
    engine.run_due()
    assert list(bucket.objects) == [f"/folder/{MARKER}"]
    put(share, "/folder/file")
    engine.run_due()
    engine.tidy()
    assert list(bucket.objects) == ["/folder/file"]


def test_a_folder_that_takes_the_place_of_a_file_in_it_is_alone_there(share: Share, bucket: Bucket) -> None:
    engine = Engine(share)
    put(share, "/a")
    engine.run_due()
    share.move("/a", "/b", overwrite=False)
    share.make_folder("/a")
    share.move("/b", "/a/file", overwrite=False)
    engine.run_due()
    assert list(bucket.objects) == ["/a/file"]
    share.lister.refresh(ROOT_ID)
    assert [node.name for node in share.children(share.find("/"))] == ["a"]
    assert share.find("/a").is_folder


def test_a_file_that_moved_into_a_folder_of_its_name_goes_on_with_it(bucket_place: Place) -> None:
    place = bucket_place
    save(place.share, "/a", b"A")
    place.carry()
    place.share.move("/a", "/b", overwrite=False)
    place.share.make_folder("/a")
    place.share.move("/b", "/a/file", overwrite=False)
    _carry_until_there(place, "/a/file")
    place.share.move("/a", "/c", overwrite=False)
    place.carry()
    place.assert_holds({"/c": None, "/c/file": b"A"})


def test_a_folder_that_takes_the_name_of_a_file_in_it_for_a_while_loses_nothing(bucket_place: Place) -> None:
    place = bucket_place
    save(place.share, "/a", b"A")
    place.share.make_folder("/x")
    save(place.share, "/x/1", b"1")
    place.carry()
    place.share.move("/a", "/x/a", overwrite=False)
    place.share.move("/x", "/a", overwrite=False)
    _carry_until_there(place, "/a/a")
    place.share.move("/a", "/x", overwrite=False)
    place.carry()
    place.assert_holds({"/x": None, "/x/1": b"1", "/x/a": b"A"})


def _carry_until_there(place: Place, path: str) -> None:
    while not place.inside.exists(path):
        assert place.office.engine.run_due(limit=1)


def test_a_folder_that_was_renamed_does_not_go_with_its_last_member(share: Share, bucket: Bucket) -> None:
    """Before it is made under its new name, a listing shows nothing under the old one."""
    engine = Engine(share)
    share.make_folder("/a")
    share.make_folder("/a/inside")
    engine.run_due()
    share.delete("/a/inside")
    share.move("/a", "/b", overwrite=False)
    folder = share.index.view().nodes.resolve("/b").id
    share.index.write(lambda view: view.nodes.update(folder, due=view.now() + 1000.0))
    engine.run_due(limit=1)
    assert bucket.objects == {}
    share.lister.refresh(ROOT_ID)
    assert share.find("/b") is not None
    engine.run_due()
    assert list(bucket.objects) == [f"/b/{MARKER}"]


def test_a_process_that_dies_while_a_marker_is_dropped_leaves_none_behind(share: Share, bucket: Bucket) -> None:
    class Died(BaseException):
        pass

    engine = Engine(share)
    share.make_folder("/folder")
    engine.run_due()
    put(share, "/folder/file")
    engine.run_due()
    remove = bucket.unkeep_directory

    def die(directory: str) -> None:
        raise Died

    bucket.unkeep_directory = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        engine.tidy()
    bucket.unkeep_directory = remove  # type: ignore[method-assign]

    share.delete("/folder")
    Engine(share).run_due()
    assert bucket.objects == {}
    assert share.find("/folder") is None


def test_a_folder_whose_last_file_goes_while_its_marker_is_dropped_stays(share: Share, bucket: Bucket) -> None:
    engine = Engine(share)
    share.make_folder("/folder")
    engine.run_due()
    put(share, "/folder/file")
    engine.run_due()
    remove = bucket.unkeep_directory

    def meanwhile(directory: str) -> None:
        share.delete("/folder/file")
        engine.run_due()
        remove(directory)

    bucket.unkeep_directory = meanwhile  # type: ignore[method-assign]
    engine.tidy()
    bucket.unkeep_directory = remove  # type: ignore[method-assign]
    engine.run_due()
    assert list(bucket.objects) == [f"/folder/{MARKER}"]
    assert share.find("/folder") is not None


def test_a_folder_stays_when_its_only_file_is_moved_away_by_somebody_else_and_back(share: Share,
                                                                                   bucket: Bucket) -> None:
    bucket.store_fileobject(io.BytesIO(b"x"), "/folder/file")
    assert share.find("/folder/file") is not None
    share.move("/folder/file", "/file", overwrite=False)
    Engine(share).run_due()
    assert set(bucket.objects) == {"/file", f"/folder/{MARKER}"}


class Died(BaseException):
    """The process ends here."""


def marked_with_a_file(share: Share) -> Engine:
    """A folder whose marker is not needed any more."""
    engine = Engine(share)
    share.make_folder("/folder")
    engine.run_due()
    put(share, "/folder/file")
    engine.run_due()
    return engine


def test_a_folder_stays_whose_process_died_when_its_marker_was_gone(share: Share, bucket: Bucket) -> None:
    engine = marked_with_a_file(share)
    remove = bucket.unkeep_directory

    def die(directory: str) -> None:
        remove(directory)
        raise Died

    bucket.unkeep_directory = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        engine.tidy()
    bucket.unkeep_directory = remove  # type: ignore[method-assign]
    assert list(bucket.objects) == ["/folder/file"]

    share.delete("/folder/file")
    Engine(share).run_due()
    assert list(bucket.objects) == [f"/folder/{MARKER}"]
    assert share.find("/folder") is not None


def test_a_marker_that_is_put_does_not_go_with_the_one_before_it(share: Share, bucket: Bucket) -> None:
    engine = marked_with_a_file(share)
    remove = bucket.unkeep_directory

    def meanwhile(directory: str) -> None:
        share.delete("/folder/file")
        engine.run_due()
        remove(directory)
        raise Died

    bucket.unkeep_directory = meanwhile  # type: ignore[method-assign]
    with pytest.raises(Died):
        engine.tidy()
    bucket.unkeep_directory = remove  # type: ignore[method-assign]
    Engine(share).run_due()
    assert list(bucket.objects) == [f"/folder/{MARKER}"]
    assert share.find("/folder") is not None


def test_a_folder_stays_whose_process_died_before_its_marker_was_there(share: Share, bucket: Bucket) -> None:
    engine = marked_with_a_file(share)
    engine.tidy()
    share.delete("/folder/file")
    keep = bucket.keep_directory

    def die(directory: str) -> None:
        raise Died

    bucket.keep_directory = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        engine.run_due()
    bucket.keep_directory = keep  # type: ignore[method-assign]
    assert list(bucket.objects) == ["/folder/file"]
    Engine(share).run_due()
    assert list(bucket.objects) == [f"/folder/{MARKER}"]
    assert share.find("/folder") is not None


def test_a_marker_in_doubt_goes_when_it_is_not_needed(share: Share, bucket: Bucket) -> None:
    engine = marked_with_a_file(share)
    remove = bucket.unkeep_directory
    asked: list[str] = []

    def fail(directory: str) -> None:
        asked.append(directory)
        raise TemporaryError("Connection reset", directory)

    bucket.unkeep_directory = fail  # type: ignore[method-assign]
    with pytest.raises(TemporaryError):
        engine.tidy()
    bucket.unkeep_directory = remove  # type: ignore[method-assign]
    assert asked == ["/folder"]
    share.move("/folder", "/moved", overwrite=False)
    engine.run_due()
    engine.tidy()
    assert list(bucket.objects) == ["/moved/file"]


def test_a_folder_stays_whose_last_files_go_at_the_same_moment(share: Share, bucket: Bucket) -> None:
    """Each of them is there while the other one's removal is planned."""
    engine = Engine(share)
    share.make_folder("/folder")
    for name in ("a", "b", "c"):
        put(share, f"/folder/{name}")
    engine.run_due()
    engine.tidy()
    assert sorted(bucket.objects) == ["/folder/a", "/folder/b", "/folder/c"]
    for name in ("a", "b", "c"):
        share.delete(f"/folder/{name}")
    delete = bucket.delete

    def meanwhile(path: str, *arguments: object, **options: object) -> None:
        engine.run_due()  # the steps of others, while this one is under way
        delete(path, *arguments, **options)  # type: ignore[arg-type]
        assert any(key.startswith("/folder/") for key in bucket.objects), "the folder is gone for a moment"

    bucket.delete = meanwhile  # type: ignore[method-assign]
    engine.run_due()
    assert list(bucket.objects) == [f"/folder/{MARKER}"]


def test_a_new_folder_does_not_rely_on_what_is_being_removed(share: Share, bucket: Bucket) -> None:
    engine = Engine(share)
    share.make_folder("/folder")
    put(share, "/folder/file")
    engine.run_due()
    engine.tidy()
    share.delete("/folder")
    delete = bucket.delete

    def meanwhile(path: str, *arguments: object, **options: object) -> None:
        share.make_folder("/folder")
        engine.run_due()
        delete(path, *arguments, **options)  # type: ignore[arg-type]

    bucket.delete = meanwhile  # type: ignore[method-assign]
    engine.run_due()
    assert list(bucket.objects) == [f"/folder/{MARKER}"]
    assert share.find("/folder") is not None


def test_a_marker_in_doubt_goes_with_its_folder_when_its_last_file_was_lost(share: Share, bucket: Bucket) -> None:
    marked_with_a_file(share)
    assert share.index.write(lambda view: synced.doubt_marker(view, "/folder"))
    del bucket.objects["/folder/file"]
    share.index.write(lambda view: synced.removed(view, "/folder/file", folders=False))
    assert list(bucket.objects) == [f"/folder/{MARKER}"]
    share.delete("/folder")
    Engine(share).run_due()
    assert list(bucket.objects) == []


def test_a_new_folder_of_the_same_name_inherits_the_marker_of_the_deleted_one(share: Share, bucket: Bucket) -> None:
    """Its first file gets there before the marker is removed; when it is deleted in turn, nothing stays."""
    engine = Engine(share)
    share.make_folder("/folder")
    engine.run_due()
    share.delete("/folder")
    share.make_folder("/folder")
    put(share, "/folder/file")
    file = share.find("/folder/file")
    assert file is not None
    engine._queue.want(file.id)
    engine.run_due(limit=1)
    assert "/folder/file" in bucket.objects
    share.delete("/folder")
    engine.run_due()
    engine.tidy()
    engine.run_due()
    assert list(bucket.objects) == []
