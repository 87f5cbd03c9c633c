"""How long a failed step waits, and when a store that is down is tried again."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.store.errors import (
    OutOfSpaceError,
    RateLimitedError,
    SignInNeededError,
    StoreError,
    TemporaryError,
)
from davfusion.sync.retry import Backoff, Breaker, Fullness

BACKOFF = Backoff(first=1.0, longest=300.0, patient=30.0)


@given(attempts=st.integers(1, 10**6), seed=st.integers())
def test_the_delay_grows_up_to_a_cap(attempts: int, seed: int) -> None:
    delay = BACKOFF.delay(attempts, TemporaryError("down"), Random(seed))
    assert 1.0 <= delay <= min(300.0, 2.0 ** min(attempts, 20))


def test_the_delay_is_spread_over_its_whole_range() -> None:
    delays = [BACKOFF.delay(5, TemporaryError("down"), Random(seed)) for seed in range(500)]
    assert min(delays) < 3 and max(delays) > 29
    assert 13 < sum(delays) / len(delays) < 20


def test_what_the_store_asks_for_is_kept() -> None:
    assert BACKOFF.delay(1, RateLimitedError("slow down", retry_after=77.0), Random(1)) == 77.0
    assert BACKOFF.delay(1, TemporaryError("busy", retry_after=1000.0), Random(1)) == 1000.0


@pytest.mark.parametrize("asked", [0.0, -5.0, 0.001])
def test_a_store_that_asks_for_no_pause_gets_one(asked: float) -> None:
    assert BACKOFF.delay(1, TemporaryError("busy", retry_after=asked), Random(1)) == 1.0


@pytest.mark.parametrize("error", [OutOfSpaceError("full"), SignInNeededError("expired")])
def test_what_needs_a_person_is_tried_seldom(error: StoreError) -> None:
    assert all(30.0 <= BACKOFF.delay(attempts, error, Random(attempts)) <= 300.0 for attempts in range(1, 30))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, failures=3, pause=5.0)


def test_it_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    for _ in range(2):
        breaker.failed()
        assert breaker.allows() and not breaker.is_open
    breaker.failed()
    assert breaker.is_open and not breaker.allows()


def test_a_success_between_failures_keeps_it_closed(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        assert not breaker.succeeded()
    assert breaker.allows()


def test_one_try_after_each_pause_until_one_succeeds(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        breaker.failed()
    for _ in range(5):
        assert breaker.opens_at() == clock.now + 5.0
        clock.now += 4.9
        assert not breaker.allows()
        clock.now += 0.2
        assert breaker.allows() and breaker.is_open
        breaker.failed()
    clock.now += 6.0
    assert breaker.succeeded()
    assert breaker.allows() and not breaker.is_open and breaker.opens_at() is None
    assert not breaker.succeeded()


def test_a_store_that_limits_the_rate_is_left_alone_at_once_and_as_long_as_it_asks(
        breaker: Breaker, clock: Clock) -> None:
    breaker.failed(60.0, at_once=True)
    assert breaker.is_open and breaker.opens_at() == clock.now + 60.0
    clock.now += 59.0
    assert not breaker.allows()


def test_a_pause_asked_for_by_one_file_does_not_stop_the_others(breaker: Breaker) -> None:
    breaker.failed(60.0)
    assert breaker.allows()


def test_a_clock_that_is_set_back_does_not_close_it_for_hours(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3):
        breaker.failed()
    clock.now -= 86_400.0
    assert breaker.allows()


def test_only_files_as_large_as_the_one_refused_are_held_back(clock: Clock) -> None:
    full = Fullness(clock, pause=30.0)
    assert full.holds_until(10**12) is None
    full.refused(1000)
    assert full.holds_until(999) is None
    assert full.holds_until(1000) == full.holds_until(5000) == clock.now + 30.0
    clock.now += 30.0
    assert full.holds_until(1000) is None


def test_room_for_as_large_a_file_is_room_for_all(clock: Clock) -> None:
    full = Fullness(clock, pause=30.0)
    full.refused(1000)
    full.accepted(10)
    assert full.holds_until(1000) is not None
    full.accepted(1000)
    assert full.holds_until(10**12) is None
