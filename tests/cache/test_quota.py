"""What the quota costs: it is asked for by every PUT and must not grow with the share."""

from __future__ import annotations

import pytest

from davfusion.cache.measured import Measured
from davfusion.store.errors import TemporaryError
from tests.cache.world import Clock


def test_a_quick_measure_is_always_new() -> None:
    numbers = iter(range(100))
    measured = Measured(lambda: next(numbers))
    assert [measured.get() for _ in range(3)] == [0, 1, 2]


def test_a_slow_measure_takes_a_small_part_of_the_time(clock: Clock) -> None:
    calls = []

    def slow() -> int:
        clock.advance(0.5)
        calls.append(clock.now)
        return len(calls)

    measured = Measured(slow, clock=clock, effort=clock)
    for _ in range(1000):
        clock.advance(0.1)
        measured.get()
    assert 8 <= len(calls) <= 11
    assert measured.get() == len(calls)


def test_a_measure_that_fails_is_tried_again() -> None:
    answers: list[int | TemporaryError] = [TemporaryError("down"), 5]

    def measure() -> int:
        answer = answers.pop(0)
        if isinstance(answer, TemporaryError):
            raise answer
        return answer

    measured = Measured(measure)
    with pytest.raises(TemporaryError):
        measured.get()
    assert measured.get() == 5
