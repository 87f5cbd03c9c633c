"""StatisticsStore counts what happened; FaultyStore does what its plan says, and nothing else."""

import io
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from davfusion.store.errors import (
    AlreadyExistsError,
    NotFoundError,
    OutOfSpaceError,
    TemporaryError,
)
from davfusion.store.faults import Fault, FaultyStore, RandomPlan, no_faults
from davfusion.store.interface import IfAbsent
from davfusion.store.memory import MemoryStore
from davfusion.store.statistics import StatisticsStore

DATA = bytes(range(256)) * 4096


def put(store, path, data=b"x", **options):
    return store.store_fileobject(io.BytesIO(data), path, **options)


class Scripted:
    """A plan: the faults given by verb, each once."""

    def __init__(self, **faults):
        self.faults = faults

    def __call__(self, call):
        return self.faults.pop(call.verb, None)


def test_statistics_count_requests_bytes_and_errors():
    store = StatisticsStore(MemoryStore())
    put(store, "/f", DATA)
    put(store, "/d/g", b"12345")
    store.get_file("/f")
    store.get_range("/f", 10, 20)
    store.exists("/f")
    store.exists("/never")
    store.get_directory_listing("/")
    with pytest.raises(AlreadyExistsError):
        put(store, "/f", condition=IfAbsent())
    store.move("/f", "/m")
    store.delete("/m", is_dir=False)
    told = store.snapshot()
    assert told.requests == {"store_fileobject": 3, "read": 2, "get_metadata": 2, "list_pages": 1, "move": 1,
                             "delete": 1}
    assert (told.bytes_written, told.bytes_read, told.pages) == (len(DATA) + 5, len(DATA) + 10, 1)
    assert told.errors == {"NotFoundError": 1, "AlreadyExistsError": 1}
    assert set(told.seconds) == set(told.requests)
    store.get_file("/d/g")
    assert told.requests["read"] == 2


def test_statistics_of_many_threads_add_up():
    store = StatisticsStore(MemoryStore())
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: put(store, f"/{number}", b"12345"), range(500)))
    told = store.snapshot()
    assert (told.requests["store_fileobject"], told.bytes_written) == (500, 2500)


def test_statistics_count_a_stream_that_is_closed_early():
    store = StatisticsStore(MemoryStore())
    put(store, "/f", bytes(5 * 2**20))
    stream = store.read("/f")
    next(stream)
    stream.close()
    told = store.snapshot()
    assert (told.requests["read"], told.bytes_read, told.errors) == (1, 2**20, {})
    assert "read" in told.seconds


CHANGES = {
    "store_fileobject": (lambda store: put(store, "/new"), lambda store: store.exists("/new")),
    "keep_directory": (lambda store: store.keep_directory("/n"), lambda store: store.exists("/n")),
    "create_directory": (lambda store: store.create_directory("/n"), lambda store: store.exists("/n")),
    "delete": (lambda store: store.delete("/f", is_dir=False), lambda store: not store.exists("/f")),
    "delete_empty_directory": (lambda store: store.delete_empty_directory("/e"),
                               lambda store: not store.exists("/e")),
    "unkeep_directory": (lambda store: store.unkeep_directory("/e"), lambda store: not store.exists("/e")),
    "duplicate": (lambda store: store.duplicate("/f", "/g"), lambda store: store.exists("/g")),
    "move": (lambda store: store.move("/f", "/g"), lambda store: store.exists("/g")),
}


@pytest.fixture
def inner():
    store = MemoryStore()
    put(store, "/f", DATA)
    store.create_directory("/e")
    return store


@pytest.mark.parametrize("verb", CHANGES)
def test_an_error_before_has_no_effect_and_one_after_has(inner, verb):
    change, happened = CHANGES[verb]
    store = FaultyStore(inner, Scripted(**{verb: Fault(before=OutOfSpaceError("full"))}))
    with pytest.raises(OutOfSpaceError):
        change(store)
    assert not happened(inner)
    store.plan = Scripted(**{verb: Fault(after=TemporaryError("who knows"))})
    with pytest.raises(TemporaryError):
        change(store)
    assert happened(inner)


@pytest.mark.parametrize("verb", CHANGES)
def test_a_lost_change_is_reported_as_done(inner, verb):
    change, happened = CHANGES[verb]
    change(FaultyStore(inner, Scripted(**{verb: Fault(lost=True)})))
    assert not happened(inner)


@pytest.mark.parametrize("verb", CHANGES)
def test_a_late_change_is_reported_as_failed_and_comes_when_it_is_delivered(inner, verb):
    change, happened = CHANGES[verb]
    store = FaultyStore(inner, Scripted(**{verb: Fault(late=True)}))
    with pytest.raises(TemporaryError):
        change(store)
    assert not happened(inner)
    store.deliver()
    assert happened(inner)


def test_a_late_change_that_is_refused_by_then_is_left(inner):
    store = FaultyStore(inner, Scripted(store_fileobject=Fault(late=True)))
    with pytest.raises(TemporaryError):
        put(store, "/new", b"late", condition=IfAbsent())
    put(inner, "/new", b"sooner")
    store.deliver()
    assert inner.get_file("/new") == b"sooner"


def test_reads_are_cut_corrupted_or_fail_at_the_end(inner):
    store = FaultyStore(inner, Scripted(read=Fault(cut=1000)))
    received = b""
    with pytest.raises(TemporaryError):
        for piece in store.read("/f"):
            received += piece
    assert received == DATA[:1000]
    store.plan = Scripted(read=Fault(corrupt=1234))
    corrupt = store.get_file("/f")
    assert [index for index in range(len(DATA)) if corrupt[index] != DATA[index]] == [1234]
    store.plan = Scripted(read=Fault(after=TemporaryError("late")))
    with pytest.raises(TemporaryError):
        store.get_file("/f")
    assert store.get_file("/f") == DATA


@pytest.mark.parametrize("cut", [0, 100, len(DATA) - 1, len(DATA), len(DATA) + 100])
def test_a_cut_write_leaves_the_old_file(inner, cut):
    store = FaultyStore(inner, Scripted(store_fileobject=Fault(cut=cut)))
    with pytest.raises(TemporaryError):
        put(store, "/f", DATA[::-1])
    assert inner.get_file("/f") == DATA


def test_stale_answers_are_those_before_the_last_changes(inner):
    store = FaultyStore(inner, no_faults, remember=True)
    assert not store.capabilities.strong_consistency
    old = store.get_metadata("/f")
    put(store, "/new")
    put(store, "/f", b"newer")
    store.delete("/e", is_dir=True)
    for stale, paths in ((1, {"/f", "/new", "/e"}), (2, {"/f", "/new", "/e"}), (3, {"/f", "/e"}),
                         (9, {"/f", "/new"}), (0, {"/f", "/new"})):
        store.plan = Scripted(list_pages=Fault(stale=stale))
        assert set(store.get_directory_listing("/")) == paths
    store.plan = Scripted(list_pages=Fault(stale=2))
    assert store.get_bulk_metadata("/")["/f"] == old
    store.plan = Scripted(get_metadata=Fault(stale=1))
    assert store.get_metadata("/f") == old
    store.plan = Scripted(get_metadata=Fault(stale=1))
    with pytest.raises(NotFoundError):
        store.get_metadata("/new")
    assert store.get_metadata("/new").bytes == 1


def test_latency_passes_before_the_effect(inner):
    store = FaultyStore(inner, Scripted(get_metadata=Fault(latency=0.1)))
    begin = time.monotonic()
    store.get_metadata("/f")
    assert time.monotonic() - begin >= 0.1


def test_close_ends_a_latency(inner):
    store = FaultyStore(inner, Scripted(get_metadata=Fault(latency=60)))
    timer = threading.Timer(0.05, store.close)
    timer.start()
    begin = time.monotonic()
    store.get_metadata("/f")
    assert time.monotonic() - begin < 30
    timer.join()


def outcomes(seed):
    plan = RandomPlan(random.Random(seed), {
        "before": 0.1, "after": 0.1, "lost": 0.1, "stale": 0.1, "cut": 0.1, "corrupt": 0.1, "latency": 0.02})
    store = FaultyStore(MemoryStore(), plan, remember=True)
    seen = []
    for number in range(200):
        for operation in (lambda n=number: put(store, f"/{n % 7}", DATA[:n]).bytes,
                          lambda n=number: store.get_file(f"/{n % 7}"),
                          lambda: sorted(store.get_directory_listing("/"))):
            try:
                seen.append(operation())
            except (TemporaryError, NotFoundError) as error:
                seen.append(repr(error))
    plan.enabled = False
    put(store, "/end", b"end")
    assert store.get_file("/end") == b"end"
    return seen


def test_the_same_seed_gives_the_same_faults():
    assert outcomes(7) == outcomes(7)
    assert outcomes(7) != outcomes(8)
    assert any("after the effect" in str(seen) for seen in outcomes(7))


def test_a_plan_that_makes_no_sense_is_refused():
    for rates in ({"typo": 0.1}, {"before": 0.7, "after": 0.7}):
        with pytest.raises(ValueError):
            RandomPlan(random.Random(1), rates)


def test_a_plan_may_be_for_some_verbs_only(inner):
    plan = RandomPlan(random.Random(1), {"before": 1.0}, verbs=["read"])
    store = FaultyStore(inner, plan)
    assert store.exists("/f")
    with pytest.raises(TemporaryError):
        store.get_file("/f")
