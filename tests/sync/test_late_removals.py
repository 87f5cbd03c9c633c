"""Removals that take effect after somebody looked and saw nothing of them: what was put in the place since stays."""

from __future__ import annotations

import io

import pytest

from davfusion.sync.upkeep import LATE_MEMORY
from tests.model.bucket import MARKER
from tests.sync.place import Place
from tests.sync.world import save, stored


def test_a_file_that_took_the_place_meanwhile_is_not_removed(place: Place) -> None:
    place.lose_removal("/f")
    save(place.share, "/f", b"new")
    place.carry()
    place.evict()
    place.deliver({"/f": b"new"}, removes=True)


def test_a_file_that_was_moved_back_meanwhile_is_not_lost(bucket_place: Place) -> None:
    """Its bytes are in the store only, where they are about to be removed."""
    place = bucket_place
    save(place.share, "/f", b"data")
    place.carry()
    place.evict()
    place.share.move("/f", "/g", overwrite=True)
    place.lose_sight_of("delete")
    place.share.move("/g", "/f", overwrite=True)
    place.carry()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/f": b"data"})


def test_a_folder_that_took_the_place_meanwhile_is_not_removed(place: Place) -> None:
    place.share.make_folder("/d")
    place.carry()
    place.share.delete("/d")
    place.lose_sight_of("unkeep_directory")
    place.share.make_folder("/d")
    place.carry()
    place.deliver({"/d": None}, removes=True)


def test_a_folder_does_not_go_with_a_marker_that_was_not_needed(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    place.carry()
    save(place.share, "/d/f", b"data")
    place.carry()
    place.store.hold("unkeep_directory")
    with pytest.raises(Exception, match="later"):
        place.office.engine.tidy()
    place.share.delete("/d/f")
    place.carry()
    assert f"/d/{MARKER}" in place.inside.objects  # type: ignore[attr-defined]
    place.deliver({"/d": None}, removes=True)


@pytest.mark.parametrize("seconds", [0.0, LATE_MEMORY + 1])
def test_a_copy_that_the_store_made_in_the_place_is_made_again(place: Place, seconds: float) -> None:
    save(place.share, "/f", b"old")
    save(place.share, "/source", b"data")
    place.carry()
    place.evict()
    place.share.delete("/f")
    place.lose_sight_of("delete")
    place.share.copy("/source", "/f", overwrite=True)
    place.carry()
    assert not place.office.record("/f").whole
    place.store.deliver()
    assert stored(place.inside) == {"/source": b"data"}
    place.wait(seconds)
    place.list_all()
    assert place.tree() == {"/f": b"data", "/source": b"data"}
    place.carry()
    place.assert_holds({"/f": b"data", "/source": b"data"})


@pytest.mark.parametrize("source", ["/f", "/source"])
def test_a_file_that_was_moved_there_is_not_lost_before_its_object_goes(bucket_place: Place, source: str) -> None:
    place = bucket_place
    save(place.share, "/f", b"old")
    save(place.share, source, b"data")
    place.carry()
    place.evict()
    if source == "/f":
        place.share.move("/f", "/g", overwrite=True)
    else:
        place.share.delete("/f")
    place.lose_sight_of("delete")
    place.share.move("/g" if source == "/f" else source, "/f", overwrite=True)
    while place.office.record("/f").synced_path != "/f":
        assert place.office.engine.run_due(limit=1)
    place.store.deliver()
    place.list_all()
    place.carry()
    place.assert_holds({"/f": b"data"})


def test_somebody_elses_file_is_put_there_again(place: Place) -> None:
    place.lose_removal("/f")
    place.carry()
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/f")
    place.list_all()
    assert place.tree() == {"/f": b"theirs"}
    place.deliver({"/f": b"theirs"}, removes=True)


def test_a_folder_is_sure_again_when_no_request_can_come_any_more(place: Place) -> None:
    place.share.make_folder("/d")
    place.carry()
    place.share.delete("/d")
    place.lose_sight_of("unkeep_directory")
    place.share.make_folder("/d")
    place.carry()
    assert not place.office.record("/d").confirmed
    place.carry(LATE_MEMORY + 1)
    place.office.engine.tidy()
    place.list_all()
    assert place.office.record("/d").confirmed
