"""The engine with its threads: what travels, how often, and what a failing store or a lock does to it."""

from __future__ import annotations

import threading
import time

import pytest

from davfusion.store.errors import InvalidPathError, OutOfSpaceError, TransferInterruptedError
from davfusion.store.memory import MemoryStore
from davfusion.sync.retry import Backoff
from tests.model.bucket import Bucket
from tests.sync.conftest import MakeOffice
from tests.sync.world import Observed, Trickling, down, save, somebody_writes, stored, until


@pytest.fixture(params=[MemoryStore, Bucket])
def store(request: pytest.FixtureRequest) -> Observed:
    return Observed(request.param())


def test_ten_saves_are_one_upload(make_office: MakeOffice, store: Observed) -> None:
    office = make_office(store, upload_delay=0.3)
    with office.working():
        for number in range(10):
            save(office.share, "/letter.txt", b"version %d" % number)
        until(office.settled)
    assert stored(store) == {"/letter.txt": b"version 9"}
    assert store.count("store_fileobject") == 1


@pytest.mark.parametrize("renaming", [False, True], ids=["in place", "beside and renamed"])
def test_a_file_that_is_saved_all_the_time_is_uploaded_now_and_then(
        make_office: MakeOffice, store: Observed, renaming: bool) -> None:
    now = [1_000_000.0]
    office = make_office(store, upload_delay=5.0, clock=lambda: now[0])
    for second in range(200):
        save(office.share, "/log.tmp" if renaming else "/log", b"%d" % second)
        if renaming:
            office.share.move("/log.tmp", "/log", overwrite=True)
        office.engine.run_due()
        now[0] += 1.0
    assert 2 <= store.count("store_fileobject") <= 4
    now[0] += 5.0
    office.carry_all()
    assert stored(store) == {"/log": b"199"}


def test_a_file_that_is_saved_during_each_upload_gets_there(make_office: MakeOffice) -> None:
    class Slow(Observed):
        def store_fileobject(self, fileobject, path, *, condition=None, modified=None, interrupt=None):  # type: ignore[no-untyped-def]
            assert interrupt is not None
            if interrupt.wait(0.1):
                raise TransferInterruptedError("Interrupted", path)
            return super().store_fileobject(
                fileobject, path, condition=condition, modified=modified, interrupt=interrupt)

    store = Slow(MemoryStore())
    office = make_office(store, upload_delay=0.02)

    def there() -> bool:
        save(office.share, "/log", b"again")
        return bool(stored(store))
    with office.working():
        until(there, what="an upload of a file that is saved all the time")


def test_what_was_created_and_deleted_before_its_time_is_never_told_to_the_store(
        make_office: MakeOffice, store: Observed) -> None:
    office = make_office(store, upload_delay=60.0)
    save(office.share, "/temporary.tmp", b"x")
    office.share.make_folder("/New folder")
    save(office.share, "/New folder/temporary.tmp", b"x")
    office.share.delete("/temporary.tmp")
    office.share.delete("/New folder")
    office.share.index.write(lambda view: view.nodes.hasten(view.now()))
    office.carry_all()
    assert store.requests == []


def test_the_save_of_office_is_one_upload(make_office: MakeOffice, store: Observed) -> None:
    office = make_office(store)
    save(office.share, "/report.docx", b"old")
    office.carry_all()
    store.requests.clear()
    save(office.share, "/~WRD0001.tmp", b"new")
    office.share.move("/report.docx", "/~WRL0002.tmp", overwrite=False)
    office.share.move("/~WRD0001.tmp", "/report.docx", overwrite=False)
    office.share.delete("/~WRL0002.tmp")
    office.carry_all()
    assert store.verbs() == {"store_fileobject": 1}
    assert stored(store) == {"/report.docx": b"new"}


def test_the_save_of_the_finder_is_one_upload(make_office: MakeOffice, store: Observed) -> None:
    office = make_office(store)
    office.share.make_folder("/d")
    save(office.share, "/d/notes.txt", b"old")
    office.carry_all()
    store.requests.clear()
    office.share.make_folder("/.TemporaryItems")
    save(office.share, "/.TemporaryItems/notes.txt", b"new")
    office.share.move("/.TemporaryItems/notes.txt", "/d/notes.txt", overwrite=True)
    office.share.delete("/.TemporaryItems")
    office.carry_all()
    assert store.verbs() == {"store_fileobject": 1}
    assert stored(store) == {"/d": None, "/d/notes.txt": b"new"}


def test_a_save_during_the_upload_interrupts_it_and_travels_after_the_delay(make_office: MakeOffice) -> None:
    store = Trickling(MemoryStore())
    office = make_office(store, upload_delay=0.4)
    with office.working():
        save(office.share, "/film.mp4", b"first" * 1000)
        until(lambda: store.started, what="the first upload")
        saved = time.monotonic()
        save(office.share, "/film.mp4", b"second")
        until(lambda: store.interrupted, what="the interruption")
        store.open.set()
        until(lambda: len(store.started) == 2, what="the second upload")
        assert time.monotonic() - saved >= 0.4, "the delay after the last save was not kept"
        until(office.settled)
    assert stored(store) == {"/film.mp4": b"second"}


def test_a_delete_during_the_upload_does_not_resurrect(make_office: MakeOffice, store: Observed) -> None:
    gate = threading.Event()
    store.hold = lambda verb, path: gate if verb == "store_fileobject" else None
    office = make_office(store)
    with office.working():
        save(office.share, "/secret.txt", b"x" * 1000)
        until(store.arrived.is_set)
        office.share.delete("/secret.txt")
        gate.set()
        until(office.settled)
    assert stored(store) == {}
    assert office.share.find_known("/secret.txt") is None


def test_a_rename_during_the_upload_ends_at_the_new_name(make_office: MakeOffice, store: Observed) -> None:
    gate = threading.Event()
    store.hold = lambda verb, path: gate if verb == "store_fileobject" else None
    office = make_office(store)
    with office.working():
        save(office.share, "/draft.txt", b"text")
        until(store.arrived.is_set)
        office.share.move("/draft.txt", "/final.txt", overwrite=False)
        save(office.share, "/draft.txt", b"another")
        gate.set()
        until(office.settled)
    assert stored(store) == {"/draft.txt": b"another", "/final.txt": b"text"}


def test_large_files_travel_a_few_at_a_time_and_all_of_them(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, workers=8)
    for number in range(30):
        save(office.share, f"/film {number}.mp4", bytes(3_000_000))
    with office.working():
        until(office.settled)
    assert len(stored(store)) == 30
    assert store.most_under_way <= 4, "large files are not limited"


def test_large_files_do_not_keep_small_ones_waiting(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    gate = threading.Event()
    store.hold = lambda verb, path: gate if path.startswith("/film") else None
    office = make_office(store, workers=8)
    for number in range(20):
        save(office.share, f"/film {number}.mp4", bytes(3_000_000))
    for number in range(20):
        save(office.share, f"/note {number}.txt", b"short")
    with office.working():
        until(lambda: sum(path.startswith("/note") for path in stored(store)) == 20, what="the small files")
        gate.set()
        until(office.settled)
    assert len(stored(store)) == 40


def test_an_exclusive_lock_holds_the_upload_back_until_it_goes(make_office: MakeOffice, store: Observed) -> None:
    office = make_office(store)
    lock, _ = office.share.lock("/open.docx", exclusive=True, infinite=False, owner=b"", principal="", timeout=600)
    save(office.share, "/open.docx", b"half")
    save(office.share, "/other.txt", b"free")
    with office.working():
        until(lambda: "/other.txt" in stored(store))
        assert "/open.docx" not in stored(store)
        office.share.unlock(lock.token)
        until(office.settled)
    assert stored(store) == {"/open.docx": b"half", "/other.txt": b"free"}


def test_a_lock_that_never_goes_holds_back_for_minutes_only(make_office: MakeOffice, store: Observed) -> None:
    now = [1_000_000.0]
    office = make_office(store, clock=lambda: now[0])
    office.share.lock("/open.docx", exclusive=True, infinite=False, owner=b"", principal="", timeout=10**6)
    save(office.share, "/open.docx", b"half")
    office.engine.run_due()
    assert stored(store) == {}
    now[0] += 301.0
    office.carry_all()
    assert stored(store) == {"/open.docx": b"half"}


def test_who_waits_for_a_locked_file_waits_without_asking_all_the_time(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store)
    save(office.share, "/a", b"a")
    save(office.share, "/b", b"b")
    office.carry_all()
    office.share.move("/a", "/c", overwrite=False)
    save(office.share, "/c", b"a, changed")
    office.share.lock("/c", exclusive=True, infinite=False, owner=b"", principal="", timeout=600)
    office.share.move("/b", "/a", overwrite=False)
    assert office.engine.run_due(limit=1000) < 50
    assert stored(store) == {"/a": b"a", "/b": b"b"}


def test_a_file_that_the_store_cannot_hold_is_parked_with_a_reason_and_blocks_nothing(
        make_office: MakeOffice, store: Observed) -> None:
    store.fail = lambda verb, path: InvalidPathError("A name must not end with a dot", path) if "dot." in path else None
    office = make_office(store)
    office.share.make_folder("/d")
    save(office.share, "/d/dot.", b"1")
    save(office.share, "/d/fine", b"2")
    office.engine.run_due()
    record = office.record("/d/dot.")
    assert record.parked and record.problem == "A name must not end with a dot"
    assert stored(store)["/d/fine"] == b"2"
    assert office.share.index.view().nodes.count_dirty() == (0, 1)
    assert not office.share.index.view().operations.open()
    office.share.move("/d/dot.", "/d/no dot", overwrite=False)
    office.carry_all()
    assert stored(store)["/d/no dot"] == b"1"


def test_a_full_store_is_tried_again_later(make_office: MakeOffice, store: Observed) -> None:
    full = [True]
    store.fail = lambda verb, path: (
        OutOfSpaceError("The account is full", path) if full[0] and verb == "store_fileobject" else None)
    office = make_office(store)
    with office.working():
        save(office.share, "/a", b"1")
        save(office.share, "/b", b"2")
        until(lambda: office.record("/a").problem == "The account is full")
        full[0] = False
        until(office.settled)
    assert stored(store) == {"/a": b"1", "/b": b"2"}


def test_a_full_store_is_not_sent_everything_in_vain_and_takes_what_it_can(
        make_office: MakeOffice, store: Observed) -> None:
    sizes: dict[str, int] = {}
    store.fail = lambda verb, path: (
        OutOfSpaceError("The account is full", path) if verb == "store_fileobject" and sizes[path] > 50 else None)
    office = make_office(store, backoff=Backoff(first=10.0, longest=20.0, patient=10.0))
    for number in range(200):
        sizes[f"/{number}"] = 10 if number % 2 else 100
        save(office.share, f"/{number}", bytes(sizes[f"/{number}"]))
    with office.working():
        until(lambda: len(stored(store)) == 100, what="the files for which there is room")
    assert store.count("store_fileobject") <= 100 + 3 * 8
    assert office.share.index.view().nodes.count_dirty() == (100, 0)


def test_uploads_resume_by_themselves_soon_after_the_store_is_back(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store, backoff=Backoff(first=100.0, longest=300.0), pause=0.2)
    store.fail = down
    for number in range(5):
        save(office.share, f"/{number}", b"x")
    with office.working():
        until(lambda: len(store.requests) >= 10, what="a few tries in vain")
        store.fail = lambda verb, path: None
        until(office.settled)
    assert len(stored(store)) == 5


def test_the_pieces_of_a_renamed_folder_resume_soon_after_the_store_is_back(make_office: MakeOffice) -> None:
    store = Observed(Bucket())
    office = make_office(store, backoff=Backoff(first=100.0, longest=300.0), pause=0.2)
    office.share.make_folder("/old")
    for number in range(5):
        save(office.share, f"/old/{number}", b"%d" % number)
    office.carry_all()
    store.fail = down
    office.share.move("/old", "/new", overwrite=False)
    store.requests.clear()
    with office.working():
        until(lambda: len(store.requests) >= 10, what="a few tries in vain")
        store.fail = lambda verb, path: None
        until(office.settled)
    assert stored(store) == {"/new": None} | {f"/new/{number}": b"%d" % number for number in range(5)}


def test_a_store_that_is_down_is_asked_seldom(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    store.fail = down
    office = make_office(store)
    for number in range(200):
        save(office.share, f"/{number}", b"x")
    with office.working():
        until(lambda: len(store.requests) >= 5)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 1.5)
    assert len(store.requests) < 40


def test_after_a_crash_during_the_upload_the_doubt_is_cleared(make_office: MakeOffice, store: Observed) -> None:
    office = make_office(store)
    save(office.share, "/a", b"1")
    write = office.share.index.write

    def dies(change):  # type: ignore[no-untyped-def]
        if store.count("store_fileobject"):
            raise SystemExit
        return write(change)
    office.share.index.write = dies  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        office.engine.run_due()
    office.share.index.write = write  # type: ignore[method-assign]
    assert stored(store) == {"/a": b"1"}
    again = make_office(store)
    assert again.share.index.view().operations.open()
    again.carry_all()
    assert store.count("store_fileobject") == 1


def test_stopping_during_transfers_is_quick_and_leaves_nothing_half_done(make_office: MakeOffice) -> None:
    inside = MemoryStore()
    store = Trickling(inside)
    office = make_office(store)
    for number in range(20):
        save(office.share, f"/{number}", b"data" * 1000)
    with office.working():
        until(lambda: len(store.started) == 8)
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    assert stored(inside) == {}
    store.open.set()
    again = make_office(store)
    again.carry_all()
    assert stored(inside) == {f"/{number}": b"data" * 1000 for number in range(20)}


def test_stopping_during_housekeeping_is_quick(make_office: MakeOffice) -> None:
    now = [1_000_000.0]
    store = Observed(MemoryStore())
    office = make_office(store, clock=lambda: now[0])
    for number in range(50):
        office.share.make_folder(f"/{number}")
        save(office.share, f"/{number}/x", b"x")
    office.carry_all()
    now[0] += 100.0
    listed = threading.Semaphore(0)

    def slow(verb: str, path: str) -> None:
        if verb == "list_pages":
            listed.release()
            threading.Event().wait(0.3)
    store.fail = slow  # type: ignore[assignment]
    with office.working():
        assert listed.acquire(timeout=10)
        began = time.monotonic()
        save(office.share, "/urgent", b"1")
        until(lambda: "/urgent" in stored(store.__dict__["_store"]), deadline=3.0)
    assert time.monotonic() - began < 5.0


def test_a_save_on_a_bucket_is_one_put(make_office: MakeOffice) -> None:
    store = Observed(Bucket())
    office = make_office(store)
    office.share.make_folder("/d")
    for number in range(100):
        save(office.share, f"/d/{number}", b"x")
    office.carry_all()
    assert store.verbs() == {"store_fileobject": 100}
    store.requests.clear()
    save(office.share, "/d/7", b"y")
    office.carry_all()
    assert store.verbs() == {"store_fileobject": 1}


def test_a_folder_renamed_onto_one_that_somebody_made_in_the_store_replaces_nothing(make_office: MakeOffice) -> None:
    store = Observed(MemoryStore())
    office = make_office(store)
    office.share.make_folder("/a")
    save(office.share, "/a/ours", b"ours")
    office.carry_all()
    somebody_writes(store, "/b/theirs", b"theirs")
    office.share.move("/a", "/b", overwrite=False)
    store.requests.clear()
    office.engine.run_due(limit=200)
    assert len(store.requests) < 30, "it asks for ever"
    office.carry_all()
    assert b"theirs" in stored(store).values()
    assert b"ours" in stored(store).values()


def test_what_a_small_file_costs_the_index(make_office: MakeOffice) -> None:
    files = 20
    office = make_office(MemoryStore())
    for number in range(files):
        save(office.share, f"/{number}", b"data")
    statements: list[str] = []
    connections = [office.share.index.view().nodes._connection,
                   office.share.index.write(lambda view: view.nodes._connection)]
    for connection in connections:
        connection.set_trace_callback(statements.append)
    steps = office.engine.run_due()
    for connection in connections:
        connection.set_trace_callback(None)
    assert office.settled()
    assert steps == files
    assert len(statements) <= 34 * files, f"{len(statements) / files} a file"


@pytest.mark.parametrize("again", [False, True], ids=["as it was", "saved anew"])
def test_what_goes_into_the_folder_that_takes_the_place_of_its_own(
        make_office: MakeOffice, store: Observed, again: bool) -> None:
    """Its path is the same as before, and yet the store holds it in a folder that has to go."""
    office = make_office(store)
    share = office.share
    for folder in ("/a", "/b"):
        share.make_folder(folder)
        save(share, f"{folder}/own", folder.encode())
    save(share, "/a/f", b"f")
    share.make_folder("/a/sub")
    save(share, "/a/sub/g", b"g")
    office.carry_all()
    share.move("/a/f", "/b/f", overwrite=True)
    share.move("/a/sub", "/b/sub", overwrite=True)
    share.move("/b", "/a", overwrite=True)
    if again:
        save(share, "/a/f", b"anew")
    office.carry_all()
    inside = {"/a/f": b"anew" if again else b"f", "/a/own": b"/b", "/a/sub": None, "/a/sub/g": b"g"}
    assert stored(store) == {"/a": None, **inside}
    root = share.find("/")
    assert root is not None
    assert {node.path for node in share.walk(root)} == {"/a", *inside}
