"""What is kept at hand is bounded, and the same for everybody."""

from __future__ import annotations

from davfusion.server.head import HeadParser
from davfusion.server.recent import Recent
from davfusion.server.settings import ServerSettings


def test_the_oldest_go() -> None:
    recent: Recent[int, str] = Recent(3)
    for number in range(5):
        recent.keep(number, str(number))
    assert recent.values == {2: "2", 3: "3", 4: "4"}


def test_who_comes_second_gets_what_the_first_kept() -> None:
    recent: Recent[str, list[int]] = Recent(3)
    first: list[int] = []
    assert recent.keep("key", first) is first
    assert recent.keep("key", []) is first


def test_the_same_bytes_are_parsed_once() -> None:
    parser = HeadParser(ServerSettings(host="h", port=1))
    rest = b" HTTP/1.1\r\nHost: h\r\nX-Note: same"
    first, again, other = (parser.parse(b"GET " + target + rest) for target in (b"/a", b"/a", b"/b?c"))
    assert again is first
    assert other.fields is first.fields and (other.path, other.query) == ("/b", "c")
    assert parser.parse(b"GET http://second/a" + rest).fields.headers["HTTP_HOST"] == "second"
    assert parser.parse(b"GET /a" + rest).fields.headers["HTTP_HOST"] == "h"


def test_a_long_head_is_not_kept() -> None:
    parser = HeadParser(ServerSettings(host="h", port=1))
    raw = b"GET /a HTTP/1.1\r\nHost: h\r\nX-Note: " + b"x" * 2000
    assert parser.parse(raw) is not parser.parse(raw)


def test_credentials_stay_with_their_connection() -> None:
    parser = HeadParser(ServerSettings(host="h", port=1))
    raw = b"GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Basic c2VjcmV0"
    first = parser.parse(raw)
    assert first.fields.headers["HTTP_AUTHORIZATION"] == "Basic c2VjcmV0"
    assert not parser._heads.values and not parser._blocks.values
    assert parser.parse(raw, first.fields).fields is first.fields
    assert parser.parse(raw).fields is not first.fields
