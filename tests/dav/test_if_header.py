"""The If header (RFC 4918, 10.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.dav.if_header import (
    NO_STATE,
    ConditionList,
    MalformedIfError,
    ResourceState,
    StateCondition,
    holds,
    parse,
    submitted_tokens,
)

T1, T2 = "urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2", "opaquelocktoken:0x12"
LOCKED = ResourceState('"I am an ETag"', frozenset([T1]))
OTHER = ResourceState('"other"', frozenset([T2]))


def state_of(tag: str | None) -> ResourceState:
    return {None: LOCKED, "/other": OTHER, "http://h/other": OTHER}.get(tag, NO_STATE)


@pytest.mark.parametrize(("header", "expected"), [
    (f"(<{T1}>)", True),
    (f"(<{T2}>)", False),
    (f"(Not <{T2}>)", True),
    (f"(not <{T1}>)", False),
    ('(["I am an ETag"])', True),
    ('(["another"])', False),
    ('(Not ["another"])', True),
    ('([W/"I am an ETag"])', False),
    (f'(<{T1}> ["I am an ETag"])', True),
    (f'(<{T1}>["I am an ETag"])', True),
    (f'(<{T1}> ["another"])', False),
    # Several lists: any of them may hold.
    (f'(<{T2}> ["I am an ETag"]) (["I am an ETag"])', True),
    (f"(<{T2}>)(<{T1}>)", True),
    ("(<DAV:no-lock>)", False),
    ("(Not <DAV:no-lock>)", True),
    (f"(<{T2}>) (Not <DAV:no-lock>)", True),
    # Tagged lists are about other resources.
    (f"</other> (<{T2}>)", True),
    (f"<http://h/other> (<{T2}>)", True),
    (f"</other> (<{T1}>)", False),
    (f"</elsewhere> (<{T1}>)", False),
    (f"</elsewhere> (Not <{T1}>)", True),
    ('</elsewhere> (["other"])', False),
    (f"</elsewhere> (<{T1}>) </other> (<{T1}>) (<{T2}>)", True),
    ("  (\t[\"I am an ETag\"]\t)  ", True),
])
def test_evaluation(header: str, expected: bool) -> None:
    assert holds(parse(header), state_of) is expected


def test_entity_tags_may_hold_any_delimiter() -> None:
    assert parse('(["a ) ] > ("])') == (ConditionList(None, (StateCondition(None, '"a ) ] > ("', False),)),)


def test_tokens_count_as_submitted_wherever_they_appear() -> None:
    assert submitted_tokens(parse(f"</x> (<{T1}>) (Not <{T2}>)")) == {T1, T2}


@pytest.mark.parametrize("header", [
    "", " ", "()", "(", "(<a>", "<a>", "<a> <b> (<c>)", "(<>)", "(<a>) <b> (<c>)", "x", "(<a>) x", "<a> (<b>) <c>",
    "([\"a)", "(Not)", "(Nota <x>)", "(<a>,<b>)", "(<a>), (<b>)", "((<a>))", "([])",
])
def test_malformed_headers_are_refused(header: str) -> None:
    with pytest.raises(MalformedIfError):
        parse(header)


TOKEN = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="<>"), min_size=1)
ETAG = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"')).map(lambda t: f'"{t}"')
CONDITION = st.one_of(
    st.builds(StateCondition, TOKEN, st.none(), st.booleans()),
    st.builds(StateCondition, st.none(), ETAG, st.booleans()))
CONDITIONS = st.lists(CONDITION, min_size=1, max_size=4).map(tuple)
UNTAGGED = st.lists(st.builds(ConditionList, st.none(), CONDITIONS), min_size=1, max_size=3).map(tuple)
TAGGED = st.lists(st.builds(ConditionList, TOKEN, CONDITIONS), min_size=1, max_size=3).map(tuple)


def written(lists: tuple[ConditionList, ...]) -> str:
    parts = []
    for each in lists:
        tag = f"<{each.resource}> " if each.resource is not None else ""
        inner = " ".join(("Not " if c.negated else "") + (f"<{c.token}>" if c.token is not None else f"[{c.etag}]")
                         for c in each.conditions)
        parts.append(f"{tag}({inner})")
    return " ".join(parts)


@given(st.one_of(UNTAGGED, TAGGED))
def test_every_header_is_read_back(lists: tuple[ConditionList, ...]) -> None:
    assert parse(written(lists)) == lists


@given(st.text(st.sampled_from('<>()[]" aNotW/:,'), max_size=40))
def test_any_text_is_parsed_or_refused(header: str) -> None:
    try:
        parsed = parse(header)
    except MalformedIfError:
        return
    assert all(each.conditions for each in parsed) and parsed
