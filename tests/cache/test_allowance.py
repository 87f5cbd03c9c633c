"""Room that is given away without measuring."""

from __future__ import annotations

from davfusion.cache.allowance import SHARE, Allowance
from tests.cache.world import Clock


def test_only_a_share_of_measured_room_is_given_away() -> None:
    allowance = Allowance(1.0, clock=Clock())
    assert not allowance.take(1), "nothing was measured yet"
    allowance.refill(1000)
    taken = 0
    while allowance.take(10):
        taken += 10
    assert taken == 1000 * SHARE
    allowance.refill(1000)
    assert not allowance.take(int(1000 * SHARE) + 1), "what takes a good part of the room is measured for"


def test_when_time_is_up_one_measures_and_the_others_go_on() -> None:
    clock = Clock()
    allowance = Allowance(1.0, clock=clock)
    allowance.refill(1000)
    assert allowance.take(10)
    clock.advance(1.0)
    assert not allowance.take(10)
    assert allowance.take(10), "somebody measures already"
    clock.advance(1.0)
    assert not allowance.take(10), "he did not come back: the next one measures"


def test_no_room_gives_nothing_away() -> None:
    allowance = Allowance(1.0, clock=Clock())
    allowance.refill(-5)
    assert not allowance.take(1)
    assert allowance.take(0), "an empty body needs none"
