"""What is kept in memory is bounded, and what was used lately stays."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from davfusion.cache.kept import Kept


def test_the_least_recently_used_goes() -> None:
    kept: Kept[str, str] = Kept(100)
    for key in "abcd":
        kept.put(key, key.upper(), 25)
    assert kept.get("a") == "A"
    kept.put("e", "E", 25)
    assert [kept.get(key) for key in "abcde"] == ["A", None, "C", "D", "E"]


def test_a_value_takes_the_place_of_the_former_one() -> None:
    kept: Kept[str, int] = Kept(100)
    kept.put("a", 1, 25)
    kept.put("a", 2, 10)
    assert (kept.get("a"), kept.size) == (2, 10)


def test_what_would_take_over_a_quarter_of_the_room_is_not_kept_nor_what_it_replaces() -> None:
    kept: Kept[str, int] = Kept(100)
    kept.put("a", 1, 25)
    kept.put("a", 2, 26)
    assert (kept.get("a"), kept.size) == (None, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40), st.booleans())))
def test_never_more_than_the_limit(steps: list[tuple[str, int, bool]]) -> None:
    kept: Kept[str, int] = Kept(100)
    expected: OrderedDict[str, int] = OrderedDict()
    for key, size, is_use in steps:
        if is_use:
            assert kept.get(key) == expected.get(key)
            if key in expected:
                expected.move_to_end(key)
            continue
        kept.put(key, size, size)
        expected.pop(key, None)
        if size <= 25:
            expected[key] = size
        while sum(expected.values()) > 100:
            expected.popitem(last=False)
        assert kept.size == sum(expected.values()) <= 100
