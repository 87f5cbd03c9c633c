"""Which names and passwords can be used, which are the same, and what a header says."""

from __future__ import annotations

import base64
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.accounts.basic import credentials
from davfusion.accounts.errors import UnusableError
from davfusion.accounts.names import folded, usable_name, usable_password
from davfusion.accounts.passwords import Passwords
from tests.accounts.signing import header_of


def basic(raw: bytes) -> str:
    return "Basic " + base64.b64encode(raw).decode()


@pytest.mark.parametrize("name", ["alice", "Jürgen", "名前", "o'neil", "a b", "a@example.org", "x" * 64])
def test_names_that_can_be_used(name: str) -> None:
    assert usable_name(name) == name
    assert usable_name(unicodedata.normalize("NFD", name)) == name


@pytest.mark.parametrize("name", ["", " a", "a ", "a:b", "a/b", "a\\b", 'a"b', "a\nb", "a\0", "a\x7f", "a\u202eb",
                                  "a\u200bb", "a\u2028b", "a\xa0b", "\ud800", "x" * 65, "anonymous", "Anonymous"])
def test_names_that_cannot_be_used(name: str) -> None:
    with pytest.raises(UnusableError):
        usable_name(name)


@pytest.mark.parametrize("password", ["", "short", "tab\tin it", "line\nbreak", "nul\0inside", "x" * 1025,
                                      "surrogate\udc80"])
def test_passwords_that_cannot_be_used(password: str) -> None:
    with pytest.raises(UnusableError) as caught:
        usable_password(password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(("one", "other"), [("Alice", "aLICE"), ("Jürgen", "JU\u0308RGEN"), ("straße", "STRASSE")])
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@given(st.text())
def test_folding_is_stable(name: str) -> None:
    assert folded(folded(name)) == folded(name) == folded(unicodedata.normalize("NFD", name))


@pytest.mark.parametrize(("header", "name", "password"), [
    (basic(b"alice:pw"), "alice", "pw"),
    (basic(b"alice:"), "alice", ""),
    (basic(b"alice:a:b:"), "alice", "a:b:"),
    (basic("Jürgen:Größe €".encode()), "Jürgen", "Größe €"),
    (basic("Jürgen:Größe".encode("latin-1")), "Jürgen", "Größe"),
    ("bAsIc   " + basic(b"a:b")[6:] + " ", "a", "b"),
    # the example of RFC 7617, 2.1
    ("Basic dGVzdDoxMjPCow==", "test", "123£"),
])
def test_headers_that_are_understood(header: str, name: str, password: str) -> None:
    found = credentials(header)
    assert found is not None and (found.name, found.password) == (name, password)
    assert password not in repr(found) or not password


@pytest.mark.parametrize("header", [
    "", "Basic", "Basic ", "Basic !", "Basic YQ", "Basic YTpi=", "Basic YTpi YTpi", "Basic YTpi, Basic YTpi",
    "Bearer YTpi", 'Digest username="a"', "YTpi", "Basic\tYTpi", "Basic YTpi\n", "Basic Y\u0131pi",
    "Basic \udcff", "Basic ٣TpiYQ==", basic(b"alice"), basic(b":pw"), basic(b"a\0:pw"), basic(b"a:p\nw"),
    basic(b"a\x9b:p"),
    basic(b"a/b:pw"), basic(b"x" * 65 + b":pw"), basic(b"a:" + b"x" * 1025), basic(b"a:" + b"x" * 100_000),
])
def test_headers_that_are_refused(header: str) -> None:
    assert credentials(header) is None


@given(st.text() | st.text("abcdefgYWxp0123=+/ \t,").map(lambda text: "Basic " + text)
       | st.binary(max_size=60).map(basic))
def test_no_header_is_too_odd(header: str) -> None:
    found = credentials(header)
    assert found is None or (":" not in found.name and found.name.isprintable())


@given(name=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20).filter(
    lambda name: folded(name) != "anonymous"), password=st.text(
    st.characters(exclude_categories=["Cc", "Cs"]), max_size=40))
def test_what_a_client_sends_arrives(name: str, password: str) -> None:
    found = credentials(header_of(name, password))
    assert found is not None
    assert (found.name, found.password) == tuple(unicodedata.normalize("NFC", each) for each in (name, password))


def test_hashes() -> None:
    passwords = Passwords()
    one, other = passwords.hash("Größe\u00a0der Welt"), passwords.hash("Größe\u00a0der Welt")
    assert one != other and one.startswith("$argon2id$")
    # composed or not, and whatever space a keyboard makes, it is the same password
    assert passwords.matches(one, "Gro\u0308ße der Welt")
    assert not passwords.matches(one, "größe der Welt")
    assert not passwords.matches(None, "Größe der Welt")
