"""What leaves the store, when, and what is packed anew."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from hashlib import sha256

import pytest

from davfusion.cache.index.objects import HELD
from davfusion.chunks.journal import Journal
from davfusion.chunks.volume import block_path
from davfusion.store.errors import TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from davfusion.sync.chunked.collector import Collector, Thrift
from davfusion.sync.claims import SHARE
from tests.sync.chunked.conftest import MakeOffice
from tests.sync.chunked.office import Office
from tests.sync.chunked.watched import Counted, Judged

NEVER = threading.Event()
GRACE, UNFINISHED = 1000.0, 100.0
THRIFTY = Thrift(grace=GRACE, unfinished=UNFINISHED, small=1500, merge_from=4, archive_size=4000)


@pytest.fixture
def thrifty(make_office: MakeOffice) -> Office:
    return make_office(Judged(MemoryStore()), thrift=THRIFTY)


def collector(office: Office) -> Collector:
    return office.engine._open().collector


def objects(office: Office) -> set[str]:
    return {entry.path for folder in ("/archives", "/blocks") if office.store.exists(folder)
            for page in office.store.list_pages(folder, recursive=True) for entry in page if not entry.is_dir}


def later(office: Office, seconds: float) -> None:
    assert office.now is not None
    office.now += seconds


def test_an_object_goes_after_the_journal_has_released_it_and_the_grace_is_over(thrifty: Office) -> None:
    thrifty.save("/x", b"1")
    thrifty.engine.run_due()
    (archive,) = objects(thrifty)
    thrifty.share.delete("/x")
    thrifty.engine.run_due()
    thrifty.engine._upkeep.collect()
    assert collector(thrifty).condemn() == 0, "it may be on its way"
    later(thrifty, UNFINISHED + 1)
    assert collector(thrifty).condemn() == 1
    later(thrifty, GRACE + 1)
    assert collector(thrifty).delete(NEVER) == 0, "the journal names it"
    thrifty.engine.run_due()
    assert archive not in thrifty.image().objects
    assert collector(thrifty).delete(NEVER) == 0, "its time of grace began when it was released"
    later(thrifty, GRACE + 1)
    assert collector(thrifty).delete(NEVER) == 1
    assert objects(thrifty) == set()
    assert thrifty.index.view().objects.get(archive) is None


def test_an_object_that_was_only_begun_never_counts_as_there(thrifty: Office) -> None:
    data = os.urandom(1000)  # one block
    path = block_path(sha256(data).hexdigest())
    thrifty.save("/first", b"1")
    thrifty.engine.run_due()
    thrifty.index.write(lambda view: view.objects.begin(path, view.now()))  # and the process died
    later(thrifty, UNFINISHED + 1)
    assert collector(thrifty).condemn() == 1
    thrifty.save("/large", data)
    with contextlib.suppress(TemporaryError):
        thrifty.engine.run_due()
    collector(thrifty).delete(NEVER)
    thrifty.engine.run_due()
    known = thrifty.index.view().objects.get(path)
    assert known is not None
    assert (known.state, thrifty.store.get_bytes(path)) == (HELD, len(data))


def test_a_delete_that_fails_is_taken_up_again(make_office: MakeOffice) -> None:
    failing = [Fault(before=TemporaryError("1")), Fault(after=TemporaryError("2"))]

    def fault(call: Call) -> Fault | None:
        return failing.pop() if failing and call.verb == "delete" and call.path.startswith("/archives") else None
    office = make_office(FaultyStore(MemoryStore(), fault), thrift=Thrift(grace=0.0, unfinished=0.0))
    office.save("/x", b"1")
    office.engine.run_due()
    office.share.delete("/x")
    for _ in range(5):
        with contextlib.suppress(TemporaryError):
            office.engine.run_due()
            office.engine.tidy()
    assert not failing and objects(office) == set()


def test_a_stop_is_heeded_between_two_deletes(thrifty: Office) -> None:
    stop = threading.Event()
    stop.set()
    thrifty.index.write(lambda view: view.objects.insert(
        "/archives/" + "0" * 32 + ".zip", size=1, payload=1, sha256=None, state="deleting", now=0.0, journalled=False))
    assert collector(thrifty).delete(stop) == 0
    assert collector(thrifty).delete(NEVER) == 1


def test_an_archive_that_is_mostly_holes_is_packed_anew(thrifty: Office) -> None:
    for number in range(4):
        thrifty.save(f"/{number}", os.urandom(900))
    thrifty.engine.run_due()
    kept = thrifty.read("/3")
    (old,) = objects(thrifty)
    for number in range(3):
        thrifty.share.delete(f"/{number}")
    thrifty.engine.run_due()
    thrifty.engine._upkeep.collect()
    thrifty.share.space.evict(10**12)
    assert collector(thrifty).rewrite(NEVER) == 900
    assert thrifty.recovered() == {"/3": kept}, "until the journal says otherwise"
    thrifty.engine.run_due()
    assert old not in {part.object for line in thrifty.image().contents.values() for part in line.parts}
    assert thrifty.recovered() == {"/3": kept} and thrifty.read("/3") == kept
    later(thrifty, UNFINISHED + 1)
    collector(thrifty).condemn()
    thrifty.engine.run_due()
    later(thrifty, GRACE + 1)
    assert collector(thrifty).delete(NEVER) == 1 and old not in objects(thrifty)
    assert collector(thrifty).rewrite(NEVER) == 0


def test_small_archives_are_merged_when_there_are_enough(thrifty: Office) -> None:
    for number in range(4):
        assert collector(thrifty).rewrite(NEVER) == 0
        thrifty.save(f"/{number}", b"%d" % number * 100)
        thrifty.engine.run_due()
    assert len(objects(thrifty)) == 4
    assert collector(thrifty).rewrite(NEVER) == 400
    thrifty.engine.run_due()
    assert len({part.object for line in thrifty.image().contents.values() for part in line.parts}) == 1
    assert len(thrifty.recovered()) == 4


def test_what_an_archive_does_not_give_out_is_left_and_the_rest_moves(make_office: MakeOffice) -> None:
    store = MemoryStore()
    office = make_office(store, thrift=THRIFTY)
    for name in ("0", "1", "1b", "2", "3"):
        office.save(f"/{name}", os.urandom(700))
    office.engine.run_due()
    (old,) = objects(office)
    whole = office.read("/3")
    for path in ("/0", "/1", "/1b"):
        office.share.delete(path)
    office.engine.run_due()
    office.engine._upkeep.collect()
    office.share.space.evict(10**12)
    damaged = bytearray(store.get_file(old))
    (place,) = office.index.view().objects.places(office.share.find("/2").content or 0)  # type: ignore[union-attr]
    damaged[place.start + 10] ^= 0xFF
    store.store_fileobject(io.BytesIO(bytes(damaged)), old)
    assert collector(office).rewrite(NEVER) > 0
    office.engine.run_due()
    (left,) = office.index.view().objects.places(office.share.find("/2").content or 0)  # type: ignore[union-attr]
    (moved,) = office.index.view().objects.places(office.share.find("/3").content or 0)  # type: ignore[union-attr]
    assert left == place and moved.path != old
    assert office.read("/3") == whole
    later(office, 10 * GRACE)
    for _ in range(3):
        office.engine.run_due()
        collector(office).run(NEVER)
    assert old in objects(office), "what is left of it may be of use to somebody"


def test_a_budget_ends_a_round(make_office: MakeOffice) -> None:
    office = make_office(thrift=Thrift(small=5000, merge_from=2, archive_size=1000, budget=1))
    for number in range(4):
        office.save(f"/{number}", os.urandom(450))
        office.engine.run_due()
    assert collector(office).rewrite(NEVER) == 900
    assert collector(office).rewrite(NEVER) > 0, "and the next goes on"


def test_an_interrupted_rewrite_changes_nothing(make_office: MakeOffice) -> None:
    failing: list[bool] = []

    def fault(call: Call) -> Fault | None:
        return Fault(after=TemporaryError("planned")) if failing and call.verb == "store_fileobject" else None
    office = make_office(FaultyStore(MemoryStore(), fault), thrift=THRIFTY)
    for number in range(4):
        office.save(f"/{number}", b"%d" % number)
        office.engine.run_due()
    failing.append(True)
    with pytest.raises(TemporaryError):
        collector(office).rewrite(NEVER)
    failing.clear()
    office.engine.run_due()
    assert len(office.recovered()) == 4
    later(office, UNFINISHED + 1)
    collector(office).condemn()
    collector(office).delete(NEVER)
    assert len(objects(office)) == 4, "what the interrupted one left behind"


def test_rows_of_forgotten_contents_go(thrifty: Office) -> None:
    """They stayed, so that no object was ever empty."""
    thrifty.save("/x", b"1")
    thrifty.save("/large", os.urandom(2500))
    thrifty.engine.run_due()
    for path in ("/x", "/large"):
        thrifty.share.delete(path)
    thrifty.engine.run_due()
    assert thrifty.engine._upkeep.collect() == 2
    view = thrifty.index.view()
    assert not list(view.objects.all_journalled()) and all(each.live == 0 for each in view.objects.all(HELD))


def test_a_store_without_a_share_is_not_tidied(make_office: MakeOffice) -> None:
    store = Counted(MemoryStore())
    office = make_office(store)
    office.engine._tidy_up(None, NEVER)
    assert store.requests == []
    office.engine._open()
    assert Journal(store, office.index.view().operations.meta(SHARE) or "").head().last_number == 0
