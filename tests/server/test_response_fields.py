"""What the headers of an application make of a head is the same whether it is at hand or not."""

from __future__ import annotations

import pytest

from davfusion.server.response import ServerIdentity

HEADERS = [("ETag", '"1"'), ("Content-Length", "5"), ("Connection", "Close"), ("Date", "never"), ("X-Y", "z")]


@pytest.mark.parametrize("status", ["200 OK", "206 Partial Content"])
def test_an_answer_that_comes_again_is_the_same(status: str) -> None:
    identity = ServerIdentity("test")
    first, second = identity.fields(status, HEADERS), identity.fields(status, list(HEADERS))
    assert first == second == ('ETag: "1"\r\nX-Y: z\r\n', 5, True)
    assert (first is second) is (status == "200 OK")


def test_one_header_makes_another_answer() -> None:
    identity = ServerIdentity("test")
    assert identity.fields("200 OK", HEADERS).text != identity.fields("200 OK", [*HEADERS[:-1], ("X-Y", "w")]).text


@pytest.mark.parametrize("header", [("X", "a\r\nY: b"), ("X", "a\nb"), ("Transfer-Encoding", "chunked"),
                                    ("Content-Length", "-1")])
def test_what_may_not_be_sent_is_refused_again_and_again(header: tuple[str, str]) -> None:
    identity = ServerIdentity("test")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"line end|hop-by-hop|Content-Length"):
            identity.fields("200 OK", [("ETag", '"1"'), header])


def test_what_is_kept_is_bounded() -> None:
    identity = ServerIdentity("test")
    for number in range(1000):
        identity.fields("200 OK", [("ETag", str(number))])
        identity.fields("200 OK", [("ETag", str(number))] * 17)
    assert len(identity._kept.values) == 256
