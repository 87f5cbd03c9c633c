"""How long somebody waits after wrong passwords. No test takes time: the clock is moved by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.accounts.failures import FailureLimits, Failures
from tests.accounts.signing import Clock


@pytest.fixture
def failures(clock: Clock) -> Failures:
    return Failures(clock=clock)


def fail(failures: Failures, clock: Clock, account: str, place: str, times: int) -> list[float]:
    """Fail again and again, each time as soon as it is allowed; the waits."""
    waits = []
    for _ in range(times):
        clock.advance(failures.wait(account, place))
        waits.append(failures.failed(account, place))
    return waits


def test_waits_double_up_to_the_longest(clock: Clock) -> None:
    failures = Failures(FailureLimits(forgotten_after=1e12, longest_wait=300), clock=clock)
    assert fail(failures, clock, "alice", "here", 14) == pytest.approx(
        [0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])


def test_guessing_goes_on_at_a_crawl(failures: Failures, clock: Clock) -> None:
    fail(failures, clock, "alice", "here", 12)
    began = clock.now
    fail(failures, clock, "alice", "here", 60)
    assert 30 <= (clock.now - began) / 60 <= 120


def test_the_wait_ends(failures: Failures, clock: Clock) -> None:
    wait = fail(failures, clock, "alice", "here", 7)[-1]
    assert failures.wait("alice", "here") == wait > 0
    clock.advance(wait / 2)
    assert failures.wait("alice", "here") == pytest.approx(wait / 2)
    clock.advance(wait / 2)
    assert failures.wait("alice", "here") == 0


def test_nobody_else_waits(failures: Failures, clock: Clock) -> None:
    fail(failures, clock, "alice", "here", 10)
    assert failures.wait("alice", "here") > 0
    assert failures.wait("bob", "here") == failures.wait("alice", "there") == 0


def test_many_accounts_from_one_place_slow_the_place(failures: Failures, clock: Clock) -> None:
    limit = failures.limits.origin_free
    assert [failures.failed(f"user{number}", "here") for number in range(limit)] == [0] * limit
    assert failures.failed("another", "here") == 2
    assert failures.wait("yet another", "here") == 2
    assert failures.wait("user1", "there") == 0


def test_an_account_guessed_from_many_places(failures: Failures, clock: Clock) -> None:
    limit = failures.limits.account_free
    assert [failures.failed("alice", f"place{number}") for number in range(limit)] == [0] * limit
    assert failures.failed("alice", "bot 1") == 2
    assert failures.failed("alice", "bot 2") == 4
    # who has not failed is heard at once, the owner among them
    assert failures.wait("alice", "home") == 0
    assert failures.wait("alice", "bot 2") == 4


def test_failures_are_forgotten(failures: Failures, clock: Clock) -> None:
    fail(failures, clock, "alice", "here", 6)
    clock.advance(6 * failures.limits.forgotten_after)
    assert fail(failures, clock, "alice", "here", 4) == [0] * 4


def test_a_right_password_forgives_mistypings(failures: Failures) -> None:
    for _ in range(3):
        assert [failures.failed("alice", "here") for _ in range(4)] == [0] * 4
        failures.succeeded("alice", "here")


def test_a_right_password_forgives_the_account_but_not_the_place(failures: Failures, clock: Clock) -> None:
    for number in range(failures.limits.origin_free):
        failures.failed(f"user{number}", "here")
    fail(failures, clock, "alice", "here", 1)
    clock.advance(10)
    failures.succeeded("alice", "here")
    assert failures.failed("bob", "here") > 2


def test_memory_is_bounded(clock: Clock) -> None:
    failures = Failures(FailureLimits(capacity=50), clock=clock)
    for number in range(1000):
        failures.failed(f"user{number}", f"place{number}")
        failures.failed("alice", "here")
        # what goes on is not pushed out by what came once
        assert number < 20 or failures.wait("alice", "here") == failures.limits.longest_wait
    assert len(failures) <= 150


@given(st.lists(st.tuples(st.sampled_from(["fail", "succeed", "pass"]), st.sampled_from("ab"), st.sampled_from("xy"),
                          st.floats(0, 1e5))))
def test_waits_stay_within_bounds(events: list[tuple[str, str, str, float]]) -> None:
    clock = Clock()
    failures = Failures(clock=clock)
    for event, account, place, seconds in events:
        if event == "fail":
            wait = failures.failed(account, place)
            assert failures.wait(account, place) == pytest.approx(wait)
        elif event == "succeed":
            failures.succeeded(account, place)
        clock.advance(seconds)
        assert 0 <= failures.wait(account, place) <= failures.limits.longest_wait
    clock.advance(failures.limits.longest_wait)
    assert all(failures.wait(account, place) == 0 for account in "ab" for place in "xy")
