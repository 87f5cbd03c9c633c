"""Responses: their framing, their files, and failures that the client can see."""

from __future__ import annotations

import hashlib

import pytest

from tests.server.app import BIG, BIG_BYTES
from tests.server.conftest import Running


def get(path: str, *, method: str = "GET", version: str = "1.1", headers: str = "") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: x\r\n{headers}\r\n".encode()


OK = get("/ok")


def test_every_response_names_server_and_time_once(server: Running) -> None:
    answer = server.ask(OK)
    assert answer.headers["server"] == "davfusion"
    assert answer.headers["date"].endswith(" GMT")


def test_head_has_the_headers_of_get_and_no_body(server: Running) -> None:
    with server.connect() as wire:
        for path in ("/ok", "/big", "/file", "/stream"):
            answer = wire.ask(get(path, method="HEAD"), head=True)
            assert answer.status == 200
        assert wire.ask(get("/big", method="HEAD"), head=True).headers["content-length"] == str(BIG)
        assert wire.ask(get("/file", method="HEAD"), head=True).headers["content-length"] == str(BIG)
        assert wire.ask(OK).body == b"ok"


def test_no_body_for_204_and_304(server: Running) -> None:
    with server.connect() as wire:
        answer = wire.ask(get("/empty"))
        assert answer.status == 204
        assert "content-length" not in answer.headers
        assert wire.ask(get("/unchanged")).status == 304
        assert wire.ask(OK).body == b"ok"


def test_unknown_length_is_chunked(server: Running) -> None:
    with server.connect() as wire:
        for _ in range(2):
            answer = wire.ask(get("/stream"))
            assert answer.body == b"part 0;part 1;part 2;part 3;part 4;"
            assert answer.headers["transfer-encoding"] == "chunked"
        assert wire.ask(get("/written")).body == b"first second"


def test_unknown_length_to_http_1_0_ends_with_the_connection(server: Running) -> None:
    with server.connect() as wire:
        answer = wire.ask(get("/stream", version="1.0", headers="Connection: keep-alive\r\n"))
        assert not wire.was_reset
        assert "transfer-encoding" not in answer.headers
        assert answer.body == b"part 0;part 1;part 2;part 3;part 4;"


def test_failure_midway_is_visible(server: Running) -> None:
    with server.connect() as wire, pytest.raises(EOFError):
        wire.ask(get("/boom-midway"))


def test_failure_midway_is_visible_where_the_body_ends_with_the_connection(server: Running) -> None:
    with server.connect() as wire:
        wire.send(get("/boom-midway", version="1.0"))
        wire.rest()
        assert wire.was_reset


def test_failure_before_the_head_is_a_500_without_details(server: Running) -> None:
    for method in ("GET", "HEAD"):
        with server.connect() as wire:
            answer = wire.ask(get("/boom", method=method), head=method == "HEAD")
            assert (answer.status, answer.headers["connection"]) == (500, "close")
            assert b"secret" not in answer.body
            assert wire.ended()


def test_headers_may_be_replaced_before_they_are_sent(server: Running) -> None:
    answer = server.ask(get("/boom-replaced"))
    assert (answer.status, answer.body) == (503, b"later")
    assert "x-old" not in answer.headers


@pytest.mark.parametrize("path", ["/split", "/framed"])
def test_response_headers_that_would_break_the_framing(server: Running, path: str) -> None:
    answer = server.ask(get(path))
    assert answer.status == 500
    assert "set-cookie" not in answer.headers


def test_short_response_ends_the_connection(server: Running) -> None:
    with server.connect() as wire, pytest.raises(EOFError):
        wire.ask(get("/short"))


def test_long_response_is_cut_and_ends_the_connection(server: Running) -> None:
    with server.connect() as wire:
        assert wire.ask(get("/long")).body == b"four"
        assert wire.ended()


def test_big_response(server: Running) -> None:
    with server.connect() as wire:
        for path in ("/big", "/file"):
            assert hashlib.sha256(wire.ask(get(path)).body).digest() == hashlib.sha256(BIG_BYTES).digest()


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_parts_of_files(server: Running, kind: str) -> None:
    parts = [(0, 1), (5, 65536), (100, 65537), (1_000_003, 2_000_001), (BIG - 1, 1)]
    with server.connect() as wire:
        for offset, count in parts:
            if kind == "pipe" and offset + count < BIG:
                continue
            assert wire.ask(get(f"/file?{offset},{count},{kind}")).body == BIG_BYTES[offset : offset + count]
        assert wire.ask(OK).body == b"ok"


def test_file_without_length(server: Running) -> None:
    with server.connect() as wire:
        for kind, framing in (("file", "content-length"), ("pipe", "transfer-encoding")):
            answer = wire.ask(get(f"/file?70000,0,{kind}"))
            assert answer.body == BIG_BYTES[70000:]
            assert framing in answer.headers
        assert wire.ask(get(f"/file?{BIG},0,file")).body == b""
        assert wire.ask(OK).body == b"ok"


def test_file_that_is_too_short_ends_the_connection(server: Running) -> None:
    for offset in (BIG - 10, BIG - 100_000):
        with server.connect() as wire, pytest.raises(EOFError):
            wire.ask(get(f"/file?{offset},{BIG},file"))
    assert server.ask(OK).body == b"ok"


@pytest.mark.parametrize("path", ["/big", "/file"])
def test_a_client_that_leaves_midway_harms_nobody(server: Running, path: str) -> None:
    for _ in range(20):
        with server.connect() as wire:
            wire.send(get(path))
            wire.sock.recv(100)
    assert server.ask(OK).body == b"ok"
