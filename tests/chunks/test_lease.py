"""The lease: one writer at a time, and none that blocks for ever."""

import dataclasses
import io
import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from davfusion.chunks.errors import LeaseHeldError, LeaseLostError
from davfusion.chunks.lease import SKEW, Lease
from davfusion.chunks.volume import LEASE
from davfusion.store.errors import PermissionDeniedError, TemporaryError
from davfusion.store.faults import Fault, FaultyStore, no_faults
from davfusion.store.memory import MemoryStore


class Clock:
    """A clock that is set by hand; it begins with the real time, as stores tell theirs."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture
def clock():
    return Clock()


def lease(store, owner, clock=time.time, **options):
    return Lease(store, owner=owner, host=f"host of {owner}", clock=clock, **options)


def said(store):
    return json.loads(store.get_file(LEASE))


def put(store, data):
    store.store_fileobject(io.BytesIO(data), LEASE)


def test_one_has_it_until_it_is_released(plain):
    first, second = lease(plain, "a"), lease(plain, "b")
    first.acquire()
    with pytest.raises(LeaseHeldError, match="host of a") as caught:
        second.acquire()
    assert caught.value.host == "host of a"
    assert abs(caught.value.expires - time.time() - 90 - SKEW) < 10
    first.renew()
    first.release()
    second.acquire()
    second.renew()
    with pytest.raises(LeaseLostError):
        first.renew()


def test_the_object_says_who_and_when(clock):
    store = MemoryStore()
    holder = lease(store, "a", clock, ttl=50)
    holder.acquire()
    first = said(store)
    assert (first["owner"], first["host"], first["ttl"], first["counter"]) == ("a", "host of a", 50, 1)
    assert first["acquired"] == first["renewed"]
    clock.ahead = 10
    holder.renew()
    second = said(store)
    assert (second["acquired"], second["counter"]) == (first["acquired"], 2)
    assert 10 <= second["renewed"] - first["renewed"] < 20


def test_the_same_owner_goes_on_at_once_after_a_crash(plain):
    crashed = lease(plain, "a")
    crashed.acquire()
    again = lease(plain, "a")
    again.acquire()
    again.renew()
    with pytest.raises(LeaseLostError):
        crashed.renew()
    crashed.release()
    again.renew()
    with pytest.raises(LeaseHeldError):
        lease(plain, "b").acquire()


def test_what_another_run_of_the_same_owner_has_is_not_released(plain):
    crashed, again = lease(plain, "a"), lease(plain, "a")
    crashed.acquire()
    again.acquire()
    crashed.release()
    again.renew()


def test_a_lease_that_goes_while_it_is_renewed_is_lost():
    inner = MemoryStore()
    store = FaultyStore(inner, no_faults)
    holder = lease(store, "a")
    holder.acquire()
    store.plan = Once(Fault(after=TemporaryError("Planned")))
    with pytest.raises(TemporaryError):
        holder.renew()
    writes = iter((None, lambda: put(inner, b"another's")))

    def meanwhile(call):
        """The renewal finds its own earlier one, and somebody else comes before it can write over that."""
        if call.verb == "store_fileobject" and (change := next(writes, None)):
            change()

    store.plan = meanwhile
    with pytest.raises(LeaseLostError):
        holder.renew()
    assert inner.get_file(LEASE) == b"another's"


def test_a_lease_is_taken_over_after_its_time(plain, clock):
    gone = lease(plain, "a", clock)
    gone.acquire()
    clock.ahead = 90 + SKEW - 5
    with pytest.raises(LeaseHeldError):
        lease(plain, "b", clock).acquire()
    clock.ahead = 90 + SKEW + 5
    other = lease(plain, "b", clock)
    other.acquire()
    with pytest.raises(LeaseLostError):
        gone.renew()
    with pytest.raises(LeaseLostError):
        gone.renew()
    gone.release()
    other.renew()


def test_an_owner_whose_clock_is_wrong_does_not_block_for_ever(clock):
    store = MemoryStore()
    lease(store, "a", lambda: time.time() + 10**9, ttl=1e12).acquire()
    clock.ahead = 24 * 3600 + SKEW + 5
    lease(store, "b", clock).acquire()


def test_an_owner_whose_clock_is_slow_keeps_its_lease_where_the_store_tells_the_time():
    store = MemoryStore()
    lease(store, "a", lambda: time.time() - 10**6).acquire()
    with pytest.raises(LeaseHeldError):
        lease(store, "b").acquire()


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"{}", b'{"owner":"a"}', b"\xff", json.dumps(
    {"owner": "b", "host": "x", "acquired": "y", "renewed": 1, "ttl": 1, "counter": 1}).encode()])
def test_what_cannot_be_read_is_held_until_it_is_old(content, clock):
    store = MemoryStore()
    put(store, content)
    with pytest.raises(LeaseHeldError):
        lease(store, "b", clock).acquire()
    clock.ahead = 90 + SKEW + 5
    lease(store, "b", clock).acquire()


def test_releasing_or_renewing_what_was_never_ours(plain):
    with pytest.raises(LeaseLostError):
        lease(plain, "a").renew()
    lease(plain, "b").acquire()
    lease(plain, "a").release()
    with pytest.raises(LeaseHeldError):
        lease(plain, "a").acquire()


def test_a_lease_that_somebody_removed_is_lost(plain):
    holder = lease(plain, "a")
    holder.acquire()
    plain.delete(LEASE, is_dir=False)
    with pytest.raises(LeaseLostError):
        holder.renew()
    holder.acquire()
    holder.renew()


def race(store, owners):
    barrier = threading.Barrier(len(owners))

    def acquire(holder):
        barrier.wait()
        while True:
            try:
                holder.acquire()
                return True
            except LeaseHeldError:
                return False
            except TemporaryError:  # rclone's server fails some of the requests that come at the same time
                continue

    with ThreadPoolExecutor(len(owners)) as pool:
        return list(pool.map(acquire, owners))


@pytest.mark.parametrize("held", [False, True])
def test_of_many_that_start_one_gets_it(plain, backend, clock, held):
    """rclone's server ignores conditions: there a second owner shows at the next renewal at the latest."""
    if held:
        lease(plain, "gone", clock).acquire()
        clock.ahead = 90 + SKEW + 5
    owners = [lease(plain, f"o{number}", clock) for number in range(6)]
    won = race(plain, owners)
    assert won.count(True) >= 1
    if plain.capabilities.conditional_write:
        assert won.count(True) == 1
    renewed = []
    for owner, has in zip(owners, won, strict=True):
        if has:
            try:
                owner.renew()
                renewed.append(owner)
            except LeaseLostError:
                pass
    assert len(renewed) == 1


class Once:
    """A plan: the fault happens to the next call that stores something."""

    def __init__(self, fault):
        self.fault = fault

    def __call__(self, call):
        if call.verb != "store_fileobject":
            return None
        fault, self.fault = self.fault, None
        return fault


FAULTS = [Fault(before=TemporaryError("Planned")), Fault(after=TemporaryError("Planned"))]


@pytest.mark.parametrize("fault", FAULTS, ids=["before", "after"])
def test_lost_answers_lose_no_lease(plain, fault):
    store = FaultyStore(plain, Once(fault))
    holder = lease(store, "a")
    with pytest.raises(TemporaryError):
        holder.acquire()
    holder.acquire()
    store.plan = Once(fault)
    with pytest.raises(TemporaryError):
        holder.renew()
    holder.renew()
    holder.renew()
    with pytest.raises(LeaseHeldError):
        lease(plain, "b").acquire()
    holder.release()
    lease(plain, "b").acquire()


def test_errors_of_the_store_are_not_an_absent_lease():
    for verb in ("get_metadata", "read"):
        inner = MemoryStore()
        lease(inner, "a").acquire()
        store = FaultyStore(inner, lambda call, verb=verb: (
            Fault(before=PermissionDeniedError("Planned")) if call.verb == verb else None))
        with pytest.raises(PermissionDeniedError):
            lease(store, "b").acquire()
        store.plan = no_faults
        assert said(inner)["owner"] == "a"


def test_a_store_that_cannot_decide_is_read_back():
    class Overwritten(FaultyStore):
        """Another writer comes between the check and the write."""

        @property
        def capabilities(self):
            return dataclasses.replace(super().capabilities, conditional_write=False)

        def store_fileobject(self, *arguments, **options):
            made = super().store_fileobject(*arguments, **options)
            self._store.delete(LEASE, is_dir=False)
            lease(self._store, "b").acquire()
            return made

    with pytest.raises(LeaseHeldError, match="host of b"):
        lease(Overwritten(MemoryStore(), no_faults), "a").acquire()


def test_a_lease_that_never_stands_still_is_not_waited_for():
    class Restless(FaultyStore):
        """Somebody else renews before every write."""

        def store_fileobject(self, *arguments, **options):
            put(self._store, json.dumps({"owner": "a", "host": "x", "acquired": 1.0, "renewed": 1.0, "ttl": 1.0,
                                         "counter": 1}).encode())
            return super().store_fileobject(*arguments, **options)

    with pytest.raises(LeaseHeldError):
        lease(Restless(MemoryStore(), no_faults), "a").acquire()


def test_errors_survive_pickling_and_are_sentences():
    held = pickle.loads(pickle.dumps(LeaseHeldError("nas", 1.0, 1e300)))
    assert (held.host, held.renewed, held.expires) == ("nas", 1.0, 1e300)
    assert "nas" in str(held)
    assert "1970-01-01 00:00:01 UTC" in str(held)
    assert "taken over" in str(pickle.loads(pickle.dumps(LeaseLostError())))
