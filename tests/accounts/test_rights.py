"""What counts when several settings speak about the same person and share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.accounts.rights import Principal, Right, Rights

NONE, READ, WRITE = Right.NONE, Right.READ, Right.WRITE


@pytest.mark.parametrize(("own", "own_default", "of_share", "expected"), [
    (None, None, None, WRITE),
    (None, None, NONE, NONE),
    (None, None, READ, READ),
    (None, READ, None, READ),
    (None, WRITE, NONE, WRITE),
    (None, NONE, WRITE, NONE),
    (READ, None, WRITE, READ),
    (READ, NONE, None, READ),
    (WRITE, READ, READ, WRITE),
    (NONE, WRITE, WRITE, NONE),
])
def test_the_most_particular_setting_counts(
        own: Right | None, own_default: Right | None, of_share: Right | None, expected: Right) -> None:
    rights = Rights.of(own_default=own_default, own={} if own is None else {"Photos": own},
                       share_defaults={} if of_share is None else {"photos": of_share})
    principal = Principal("x", rights)
    for spelling in ("Photos", "photos", "PHOTOS"):
        assert principal.may(spelling, write=False) is (expected is not NONE)
        assert principal.may(spelling, write=True) is (expected is WRITE)
    assert principal.may("else", write=True) is ((own_default or WRITE) is WRITE)


def test_names_of_shares_are_one_in_any_spelling() -> None:
    rights = Rights.of(own_default=WRITE, own={"Bu\u0308ro Straße": NONE}, share_defaults={})
    for spelling in ("Büro Straße", "BÜRO STRASSE", "bu\u0308ro strasse"):
        assert not rights.allows(spelling, write=False)


RIGHT = st.sampled_from(Right)
SHARES = st.dictionaries(st.text(max_size=3), RIGHT, max_size=4)


@given(own_default=st.none() | RIGHT, own=SHARES, defaults=SHARES, share=st.text(max_size=3))
def test_who_may_write_may_read(own_default: Right | None, own: dict[str, Right], defaults: dict[str, Right],
                                share: str) -> None:
    rights = Rights.of(own_default=own_default, own=own, share_defaults=defaults)
    assert rights.allows(share, write=False) or not rights.allows(share, write=True)
    if own_default is not None:
        unnamed = Rights.of(own_default=own_default, own=own, share_defaults={})
        assert rights.allows(share, write=True) == unnamed.allows(share, write=True)
