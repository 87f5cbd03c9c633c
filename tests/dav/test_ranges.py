"""Range requests (RFC 9110, 14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.dav.dates import http_date
from davfusion.dav.ranges import ByteRange, UnsatisfiableRangeError, if_range_holds, requested_ranges

WHOLE: list[tuple[int, int]] = []


@pytest.mark.parametrize(("header", "size", "expected"), [
    (None, 100, WHOLE),
    ("bytes=0-0", 100, [(0, 1)]),
    ("bytes=0-", 100, [(0, 100)]),
    ("bytes=10-19", 100, [(10, 20)]),
    ("bytes=90-1000", 100, [(90, 100)]),
    ("bytes=-1", 100, [(99, 100)]),
    ("bytes=-1000", 100, [(0, 100)]),
    ("Bytes = 1-2", 100, [(1, 3)]),
    ("bytes=0-1, 5-6 ,-1", 100, [(0, 2), (5, 7), (99, 100)]),
    ("bytes=0-1,200-300", 100, [(0, 2)]),
    ("bytes=,0-1,,", 100, [(0, 2)]),
    # Ignored: malformed, another unit, too many, more than the file.
    ("items=0-1", 100, WHOLE),
    ("bytes", 100, WHOLE),
    ("bytes=", 100, WHOLE),
    ("bytes=5-4", 100, WHOLE),
    ("bytes=a-b", 100, WHOLE),
    ("bytes=0x1-2", 100, WHOLE),
    ("bytes=+1-2", 100, WHOLE),
    ("bytes=1-2,x", 100, WHOLE),
    ("bytes=٣-٤", 100, WHOLE),
    ("bytes=" + ",".join("0-0" for _ in range(17)), 100, WHOLE),
    ("bytes=0-,0-,0-", 100, WHOLE),
    ("bytes=0-", 0, WHOLE),
    ("bytes=-5", 0, WHOLE),
])
def test_requested_ranges(header: str | None, size: int, expected: list[tuple[int, int]]) -> None:
    assert [(each.start, each.stop) for each in requested_ranges(header, size)] == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=500-,-0"])
def test_ranges_outside_of_the_file(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        requested_ranges(header, 100)


@given(st.integers(1, 10**12), st.lists(st.one_of(
    st.tuples(st.integers(0, 10**12), st.none() | st.integers(0, 10**12)),
    st.tuples(st.none(), st.integers(0, 10**12))), min_size=1, max_size=5))
def test_ranges_lie_within_the_file(size: int, specs: list[tuple[int | None, int | None]]) -> None:
    header = "bytes=" + ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in specs)
    try:
        ranges = requested_ranges(header, size)
    except UnsatisfiableRangeError:
        return
    assert all(0 <= each.start < each.stop <= size for each in ranges)
    assert sum(each.length for each in ranges) <= size


def test_content_range() -> None:
    assert ByteRange(2, 5).content_range(10) == "bytes 2-4/10"


@pytest.mark.parametrize(("header", "expected"), [
    (None, True), ('"a"', True), ('"b"', False), ('W/"a"', False),
    (http_date(1000), True), (http_date(999), False), (http_date(1001), False), ("nonsense", False),
])
def test_if_range(header: str | None, expected: bool) -> None:
    assert if_range_holds(header, '"a"', 1000.5) is expected
