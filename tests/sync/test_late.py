"""Requests that take effect after somebody looked and saw nothing of them: their process died, or did not wait.

What they wrote is ours, whatever was decided since.
"""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from davfusion.cache.index import Kind, Operation, View
from davfusion.store.errors import (
    OutOfSpaceError,
    PermissionDeniedError,
    RateLimitedError,
    StoreError,
    TemporaryError,
    TransferInterruptedError,
)
from davfusion.store.faults import Fault
from davfusion.store.interface import Metadata
from davfusion.sync.upkeep import LATE_MEMORY
from tests.model.bucket import Bucket
from tests.sync.conftest import MakeOffice
from tests.sync.place import CONFLICT, Careless, Place, make
from tests.sync.world import save

# -- uploads -------------------------------------------------------------------------------------------


def test_a_file_that_was_deleted_meanwhile_does_not_come_back(place: Place) -> None:
    place.lose_upload("/f", b"data", deleted="/f")
    place.carry()
    place.deliver({})


def test_a_folder_that_was_deleted_meanwhile_does_not_come_back(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    save(place.share, "/d/a", b"a")
    place.carry()
    place.lose_upload("/d/f", b"data", deleted="/d")
    place.deliver({})


def test_a_folder_that_went_meanwhile_is_not_brought_back_by_a_file(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    place.share.make_folder("/d/e")
    place.lose_upload("/d/e/f", b"data", deleted="/d")
    place.carry()
    place.deliver({})


def test_a_version_that_was_replaced_meanwhile_is_no_conflict(place: Place) -> None:
    save(place.share, "/f", b"first")
    place.lose_sight_of("store_fileobject")
    save(place.share, "/f", b"other")
    place.look()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/f": b"other"})


def test_a_newer_version_is_not_replaced_by_a_late_one(make_office: MakeOffice) -> None:
    place = make(make_office, Careless())
    save(place.share, "/f", b"first")
    place.lose_sight_of("store_fileobject")
    save(place.share, "/f", b"other")
    place.carry()
    place.evict()
    place.deliver({"/f": b"other"})


def test_of_two_late_versions_of_the_same_size_neither_is_somebody_elses(make_office: MakeOffice) -> None:
    place = make(make_office, Careless())
    save(place.share, "/f", b"one")
    place.lose_sight_of("store_fileobject")
    save(place.share, "/f", b"two")
    place.look()
    place.lose_sight_of("store_fileobject")
    place.share.delete("/f")
    place.look()
    place.store.deliver()
    place.carry()
    place.assert_holds({})


def test_a_file_that_was_renamed_meanwhile_is_one_file(place: Place) -> None:
    save(place.share, "/f", b"old")
    place.carry()
    save(place.share, "/f", b"new")
    place.lose_sight_of("store_fileobject")
    place.share.move("/f", "/g", overwrite=True)
    place.look()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/g": b"new"})


def test_a_file_that_was_renamed_and_carried_meanwhile_is_one_file(place: Place) -> None:
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.share.move("/f", "/g", overwrite=True)
    place.carry()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/g": b"data"})


def test_what_somebody_else_wrote_at_its_place_is_theirs(place: Place) -> None:
    place.lose_upload("/f", b"our1", deleted="/f")
    place.inside.store_fileobject(io.BytesIO(b"them"), "/f")
    place.carry()
    place.assert_holds({"/f": b"them"})


def test_a_folder_that_somebody_else_made_at_its_place_is_theirs(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    place.lose_upload("/d/f", b"data", deleted="/d")
    place.carry()
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d/other")
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})
    place.store.deliver()
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})


def test_of_two_that_were_on_their_way_one_alone_brings_no_folder_back(place: Place) -> None:
    for comes in (0, 1):
        place.share.make_folder("/d")
        place.carry()
        save(place.share, "/d/f", b"one")
        place.lose_sight_of("store_fileobject")
        save(place.share, "/d/g", b"another")
        place.lose_sight_of("store_fileobject")
        place.share.delete("/d")
        place.carry()
        place.store.forget_all_but(comes)
        place.deliver({})
        place.carry(LATE_MEMORY + 1)


def test_a_file_saved_anew_after_ten_minutes_is_no_conflict_with_a_late_one(place: Place) -> None:
    """The old one is looked for the last time while nobody knows yet what became of the new one."""
    place.lose_upload("/f", b"one", deleted="/f")
    place.carry()
    place.wait(LATE_MEMORY + 1)
    save(place.share, "/f", b"two")
    place.lose_sight_of("store_fileobject", Fault(after=TemporaryError("The answer was lost")))
    place.office.engine.tidy()
    place.carry()
    place.assert_holds({"/f": b"two"})


def test_a_file_that_is_being_saved_is_no_conflict_with_a_late_one(place: Place) -> None:
    """Housekeeping and another worker come between the effect of an upload and its answer."""
    save(place.share, "/f", b"one")
    place.lose_sight_of("store_fileobject")
    old = place.office.record("/f").id
    place.share.delete("/f")
    place.look()
    place.carry()
    place.wait(LATE_MEMORY + 1)
    save(place.share, "/f", b"two")
    engine, upload = place.office.engine, place.inside.store_fileobject

    def meanwhile(*arguments: object, **options: object) -> Metadata:
        written = upload(*arguments, **options)  # type: ignore[arg-type]
        engine._upkeep.forget_late(threading.Event())
        engine._carrier.carry(old, threading.Event())
        return written

    place.inside.store_fileobject = meanwhile  # type: ignore[method-assign, assignment]
    engine.run_due()
    place.inside.store_fileobject = upload  # type: ignore[method-assign]
    place.carry()
    place.assert_holds({"/f": b"two"})


def test_a_parked_file_does_not_keep_its_late_one_in_doubt(bucket_place: Place) -> None:
    place = bucket_place
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.look()
    place.store.hold("store_fileobject", Fault(before=PermissionDeniedError("No")))
    place.office.engine.run_due()
    assert place.office.record("/f").parked
    place.store.deliver()
    place.list_all()
    assert place.share.index.view().operations.open()
    place.office.engine._requeue_doubtful()
    assert place.office.engine._queue.next(10) == [place.office.record("/f").id]


# -- folders -------------------------------------------------------------------------------------------


def test_a_folder_that_is_made_late_goes_again(place: Place) -> None:
    place.lose_folder("/d")
    place.carry()
    place.deliver({})


def test_a_folder_that_is_made_late_stays_where_somebody_put_a_file_into_it(place: Place) -> None:
    place.lose_folder("/d")
    place.carry()
    place.store.deliver()
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d/other")
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})


def test_a_folder_that_somebody_else_put_in_the_place_of_our_file_is_theirs(place: Place) -> None:
    place.lose_folder("/d")
    save(place.share, "/d", b"a file")
    place.carry()
    place.inside.delete("/d", is_dir=False)
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d/other")
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs", CONFLICT: b"a file"})


@pytest.mark.parametrize("comes", [True, False])
def test_what_somebody_put_into_a_deleted_folder_with_something_late_in_it_stays(place: Place, comes: bool) -> None:
    place.share.make_folder("/d")
    save(place.share, "/d/a", b"a")
    place.carry()
    save(place.share, "/d/f", b"data")
    place.lose_sight_of("store_fileobject")
    place.share.delete("/d")
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d/other")
    if comes:
        place.store.deliver()
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})


def test_a_folder_with_something_late_in_it_goes_although_it_is_not_empty(place: Place) -> None:
    """Nobody lists it before it is to go."""
    place.share.make_folder("/d")
    save(place.share, "/d/a", b"a")
    place.carry()
    place.lose_upload("/d/f", b"data", deleted="/d")
    place.store.deliver()
    place.office.engine.run_due()
    assert place.tree() == {}
    place.carry()
    place.assert_holds({})


def test_a_file_takes_the_place_of_a_folder_that_something_late_made_anew(place: Place) -> None:
    place.share.make_folder("/d")
    place.carry()
    place.lose_upload("/d/f", b"data", deleted="/d")
    place.office.engine.run_due()
    save(place.share, "/d", b"a file")
    place.store.deliver()
    place.office.engine.run_due()
    place.carry()
    place.assert_holds({"/d": b"a file"})


def test_what_comes_below_a_file_goes_and_leaves_the_file_alone(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    place.lose_upload("/d/f", b"data", deleted="/d")
    save(place.share, "/d", b"a file")
    place.carry()
    place.share.delete("/d")
    save(place.share, "/d", b"another")
    place.store.deliver()
    place.wait(LATE_MEMORY + 1)
    place.office.engine.tidy()
    assert place.office.engine.run_due(limit=2000) < 2000
    place.carry()
    place.assert_holds({"/d": b"another"})
    assert list(place.inside.objects) == ["/d"]  # type: ignore[attr-defined]


def test_a_folder_in_the_place_of_our_file_is_not_hidden_by_what_may_come_below(place: Place) -> None:
    place.share.make_folder("/d")
    place.carry()
    place.lose_upload("/d/f", b"data", deleted="/d")
    place.carry()
    save(place.share, "/d", b"a file")
    place.carry()
    place.inside.delete("/d", is_dir=False)
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d/other")
    place.carry()
    place.assert_holds({"/d": None, "/d/other": b"theirs"})


def test_a_folder_that_was_renamed_with_its_members_is_one_folder(place: Place) -> None:
    place.share.make_folder("/d")
    place.lose_sight_of("keep_directory")
    save(place.share, "/d/f", b"data")
    place.share.move("/d", "/e", overwrite=True)
    place.carry()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/e": None, "/e/f": b"data"})


def test_of_two_versions_below_a_folder_the_one_that_came_is_late_no_more(make_office: MakeOffice) -> None:
    place = make(make_office, Bucket())
    place.share.make_folder("/d")
    save(place.share, "/d/f", b"one")
    place.lose_sight_of("store_fileobject")
    place.look()
    save(place.share, "/d/f", b"two")
    place.lose_sight_of("store_fileobject")
    first, second = (operation.content for operation in place.operations())
    place.share.delete("/d")
    place.look()
    place.carry()
    place.store.forget_all_but(1)
    place.deliver({})
    late = [operation.content for operation in place.share.index.view().operations.late_on("/d/f")]
    assert first in late and second not in late


def test_a_late_one_that_is_doubted_while_the_next_begins_is_no_conflict(place: Place) -> None:
    """A listing shows something just when the next upload is noted, whose answer is lost then."""
    save(place.share, "/f", b"one")
    place.lose_sight_of("store_fileobject")
    place.look()
    save(place.share, "/f", b"two")
    carrier, operations = place.office.engine._carrier, place.share.index.view().operations
    (late,) = operations.late_on("/f")
    begin = carrier._begin

    def meanwhile(view: View, *arguments: Any) -> list[Operation] | None:
        view.operations.doubt_again(late.id)
        return begin(view, *arguments)

    carrier._begin = meanwhile  # type: ignore[method-assign]
    place.lose_sight_of("store_fileobject", Fault(after=TemporaryError("The answer was lost")))
    carrier._begin = begin  # type: ignore[method-assign]
    assert len(operations.open()) == 2
    place.carry()
    place.assert_holds({"/f": b"two"})


def test_a_folder_that_comes_where_our_file_was_removed_late_goes_again(bucket_place: Place) -> None:
    place = bucket_place
    place.share.make_folder("/d")
    place.lose_sight_of("keep_directory")
    made = place.store.take()
    place.share.delete("/d")
    place.look()
    save(place.share, "/d", b"old")
    place.carry()
    place.share.delete("/d")
    place.lose_sight_of("delete")
    save(place.share, "/d", b"new")
    place.carry()
    place.store.deliver()
    made()
    place.list_all()
    assert place.office.engine.run_due(limit=2000) < 2000
    place.carry()
    place.assert_holds({"/d": b"new"})


def test_a_folder_that_comes_where_somebody_had_a_file_leaves_no_file_without_bytes(place: Place) -> None:
    place.lose_folder("/d")
    place.carry()
    place.inside.store_fileobject(io.BytesIO(b"theirs"), "/d")
    place.list_all()
    place.inside.delete("/d", is_dir=False)
    place.store.deliver()
    place.list_all()
    place.carry()
    place.assert_holds({})


def test_a_folder_that_was_renamed_meanwhile_is_one_folder(place: Place) -> None:
    place.share.make_folder("/d")
    place.lose_sight_of("keep_directory")
    place.share.move("/d", "/e", overwrite=True)
    place.carry()
    place.store.deliver()
    place.carry()
    place.assert_holds({"/e": None})


# -- what is over --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RateLimitedError("Slow down"), TransferInterruptedError("The file changed"),
                                   OutOfSpaceError("Full")])
def test_what_is_over_does_not_come_late(place: Place, error: StoreError) -> None:
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject", Fault(before=error))
    place.look()
    assert place.share.index.view().operations.late_on("/f") == []


def test_what_nobody_knows_of_may_come_late(place: Place) -> None:
    save(place.share, "/f", b"data")
    place.lose_sight_of("store_fileobject", Fault(before=TemporaryError("Connection reset")))
    place.look()
    assert [operation.path for operation in place.share.index.view().operations.late_on("/f")] == ["/f"]


# -- memory --------------------------------------------------------------------------------------------


def test_the_bytes_of_a_late_write_are_kept_until_it_cannot_come_any_more(place: Place) -> None:
    save(place.share, "/f", b"data" * 10)
    place.lose_sight_of("store_fileobject")
    (operation,) = place.share.index.view().operations.open()
    assert operation.kind is Kind.WRITE and operation.content is not None
    place.share.delete("/f")
    place.look()
    place.carry(LATE_MEMORY - 1)
    place.office.engine.tidy()
    assert place.share.index.view().contents.get(operation.content) is not None
    place.carry(2)
    place.office.engine.tidy()
    assert place.share.index.view().contents.get(operation.content) is None


def test_a_file_is_sure_again_when_no_request_can_come_any_more(place: Place) -> None:
    place.lose_removal("/f")
    save(place.share, "/f", b"new")
    place.carry()
    assert not place.office.record("/f").confirmed
    place.carry(LATE_MEMORY + 1)
    place.office.engine.tidy()
    place.list_all()
    assert place.office.record("/f").confirmed
