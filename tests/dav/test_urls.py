"""Paths as URLs and back: request paths, hrefs, and URLs in headers."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davfusion.dav.destination import ForeignURLError, Origin, url_path
from davfusion.dav.href import BadPathError, decode, from_wsgi, href, normalise, parent, spellings, xml_href

HERE = Origin.of("http", "Box.local:8080")


@pytest.mark.parametrize(("raw", "path"), [
    ("http://box.local:8080/a/b", "/a/b"),
    ("HTTP://BOX.LOCAL:8080/a", "/a"),
    ("/a/b/", "/a/b/"),
    ("http://box.local:8080", "/"),
    ("/x%3Fy.txt", "/x?y.txt"),
    ("/x;y.txt", "/x;y.txt"),
    ("/x%3By.txt", "/x;y.txt"),
    ("/x%23y", "/x#y"),
    ("/a+b%20c", "/a+b c"),
    ("/100%25", "/100%"),
    ("/%2525", "/%25"),
    ("/%C3%BC", "/ü"),
    ("/\xc3\xbc", "/ü"),
    ("/q'uo\"te", "/q'uo\"te"),
    ("http://user@box.local:8080/a", "/a"),
])
def test_destinations_are_decoded_once(raw: str, path: str) -> None:
    assert url_path(raw, HERE) == path


@pytest.mark.parametrize("raw", [
    "http://other:8080/a", "http://box.local/a", "https://box.local:8080/a", "//other/a"])
def test_other_servers_are_foreign(raw: str) -> None:
    with pytest.raises(ForeignURLError):
        url_path(raw, HERE)
    assert url_path(raw, HERE, any_origin=True) == "/a"


@pytest.mark.parametrize("raw", ["", "a/b", "/a?b", "/a#b", "/%ff", "http://[::1/a", "mailto:x"])
def test_malformed_destinations_are_refused(raw: str) -> None:
    with pytest.raises(BadPathError):
        url_path(raw, HERE)


@pytest.mark.parametrize(("scheme", "host", "other"), [
    ("http", "h:80", "h"), ("https", "h:443", "H"), ("http", "[::1]:80", "[::1]")])
def test_default_ports_do_not_matter(scheme: str, host: str, other: str) -> None:
    assert Origin.of(scheme, host) == Origin.of(scheme, other)


@pytest.mark.parametrize(("path", "expected"), [
    ("/", ("/", True)), ("//", ("/", True)), ("/a", ("/a", False)), ("//a///b/", ("/a/b", True)),
    ("/a.", ("/a.", False)), ("/...", ("/...", False)),
])
def test_normalise(path: str, expected: tuple[str, bool]) -> None:
    assert normalise(path) == expected


@pytest.mark.parametrize("path", ["/../x", "/a/..", "/./a", "/a\0b", "a", ""])
def test_paths_that_could_mean_another_are_refused(path: str) -> None:
    with pytest.raises(BadPathError):
        normalise(path)


@pytest.mark.parametrize("raw", ["/\xff", "/\xc3"])
def test_paths_that_are_not_utf8_are_refused(raw: str) -> None:
    with pytest.raises(BadPathError):
        from_wsgi(raw)
    with pytest.raises(BadPathError):
        decode(raw)


def test_sub_delims_stay_readable_in_hrefs() -> None:
    assert href("", "/a (1)!$&'*+,;=:@~.txt", is_folder=False) == "/a%20(1)!$&'*+,;=:@~.txt"
    assert xml_href("/s", "/a&b", is_folder=True) == "/s/a&amp;b/"
    assert href("/s", "/", is_folder=True) == "/s/"


def test_names_that_are_no_text_do_not_spoil_a_listing() -> None:
    assert href("", "/a\udcff", is_folder=False) == "/a%FF"


PATH = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
    .filter(lambda name: name not in (".", "..")), max_size=4).map(lambda names: "/" + "/".join(names))


@given(PATH)
def test_hrefs_are_read_back(path: str) -> None:
    url = href("", path, is_folder=False)
    assert url.isascii() and not set(url) & set(' ?#"<>%\\^`{|}') - {"%"}
    assert decode(url) == path == url_path(f"http://box.local:8080{url}", HERE)
    assert normalise(path)[0] == path


@given(PATH)
def test_destinations_that_quote_everything_are_read(path: str) -> None:
    assert url_path(quote(path, safe="/"), HERE) == path == unquote(quote(path, safe="/"))


def test_spellings() -> None:
    assert spellings("u\u0308") == ["ü"]
    assert spellings("ü") == ["u\u0308"]
    assert spellings("plain") == []
    assert spellings("日本") == []


@pytest.mark.parametrize(("path", "expected"), [("/a", "/"), ("/a/b", "/a"), ("/", "/")])
def test_parent(path: str, expected: str) -> None:
    assert parent(path) == expected
