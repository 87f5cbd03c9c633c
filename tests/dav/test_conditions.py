"""RFC 9110, 13: each row is one combination of headers and resource."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.dav.conditions import (
    ABSENT,
    Conditions,
    Current,
    MalformedConditionError,
    Outcome,
    entity_tags,
    evaluate,
)
from davfusion.dav.dates import http_date

THEN = 1_700_000_000.75
FILE = Current(exists=True, etag='"a"', modified=THEN)
FOLDER = Current(exists=True, modified=THEN)
AT, BEFORE, AFTER = http_date(THEN), http_date(THEN - 60), http_date(THEN + 60)

OK, FAIL, SAME = Outcome.PROCEED, Outcome.FAILED, Outcome.NOT_MODIFIED


@pytest.mark.parametrize(("conditions", "current", "read", "write"), [
    (Conditions(), FILE, OK, OK),
    (Conditions(), ABSENT, OK, OK),
    (Conditions(if_match="*"), FILE, OK, OK),
    (Conditions(if_match="*"), FOLDER, OK, OK),
    (Conditions(if_match="*"), ABSENT, FAIL, FAIL),
    (Conditions(if_match='"a"'), FILE, OK, OK),
    (Conditions(if_match='"b", "a"'), FILE, OK, OK),
    (Conditions(if_match='"b"'), FILE, FAIL, FAIL),
    (Conditions(if_match='W/"a"'), FILE, FAIL, FAIL),
    (Conditions(if_match='"a"'), ABSENT, FAIL, FAIL),
    (Conditions(if_match='"a"'), FOLDER, FAIL, FAIL),
    (Conditions(if_none_match="*"), FILE, SAME, FAIL),
    (Conditions(if_none_match="*"), ABSENT, OK, OK),
    (Conditions(if_none_match='"a"'), FILE, SAME, FAIL),
    (Conditions(if_none_match='W/"a"'), FILE, SAME, FAIL),
    (Conditions(if_none_match='"b"'), FILE, OK, OK),
    (Conditions(if_none_match='"a"'), ABSENT, OK, OK),
    (Conditions(if_modified_since=AT), FILE, SAME, OK),
    (Conditions(if_modified_since=AFTER), FILE, SAME, OK),
    (Conditions(if_modified_since=BEFORE), FILE, OK, OK),
    (Conditions(if_modified_since="yesterday"), FILE, OK, OK),
    (Conditions(if_modified_since=AT), ABSENT, OK, OK),
    (Conditions(if_unmodified_since=AT), FILE, OK, OK),
    (Conditions(if_unmodified_since=AFTER), FILE, OK, OK),
    (Conditions(if_unmodified_since=BEFORE), FILE, FAIL, FAIL),
    (Conditions(if_unmodified_since=BEFORE), ABSENT, OK, OK),
    (Conditions(if_unmodified_since="nonsense"), FILE, OK, OK),
    # An entity tag makes the date beside it be ignored (13.2.2).
    (Conditions(if_match='"a"', if_unmodified_since=BEFORE), FILE, OK, OK),
    (Conditions(if_none_match='"b"', if_modified_since=AFTER), FILE, OK, OK),
    (Conditions(if_none_match='"a"', if_modified_since=BEFORE), FILE, SAME, FAIL),
    (Conditions(if_match='"b"', if_none_match='"a"'), FILE, FAIL, FAIL),
    (Conditions(if_unmodified_since=BEFORE, if_none_match='"a"'), FILE, FAIL, FAIL),
])
def test_order_of_evaluation(conditions: Conditions, current: Current, read: Outcome, write: Outcome) -> None:
    assert evaluate(conditions, current, is_read=True) is read
    assert evaluate(conditions, current, is_read=False) is write


@pytest.mark.parametrize(("header", "tags"), [
    ('"a"', ['"a"']),
    ('"a","b"', ['"a"', '"b"']),
    (' "a" , , W/"b c,d" ,', ['"a"', 'W/"b c,d"']),
    ('""', ['""']),
])
def test_entity_tags(header: str, tags: list[str]) -> None:
    assert entity_tags(header) == tags


@pytest.mark.parametrize("header", ["", "a", '"a', '"a" "b"', '"a"b', "w/\"a\"", '*, "a"'])
def test_malformed_lists_of_tags_are_refused(header: str) -> None:
    with pytest.raises(MalformedConditionError):
        entity_tags(header)


TAG = st.builds(lambda weak, text: f'{weak}"{text}"', st.sampled_from(["", "W/"]),
                st.text(st.characters(min_codepoint=0x23, max_codepoint=0x7E), max_size=8))


@given(st.lists(TAG, min_size=1, max_size=5), st.sampled_from([",", ", ", " ,\t", ", ,"]))
def test_every_list_of_tags_is_read_back(tags: list[str], separator: str) -> None:
    assert entity_tags(separator.join(tags)) == tags


@given(st.text(st.characters(max_codepoint=0xFF), max_size=30))
def test_any_header_is_decided_or_refused(header: str) -> None:
    for conditions in (Conditions(if_match=header), Conditions(if_none_match=header)):
        with contextlib.suppress(MalformedConditionError):
            assert evaluate(conditions, FILE, is_read=False) in (OK, FAIL)
