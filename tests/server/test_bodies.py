"""Request bodies: whole, cut, malformed, uninvited and unread."""

from __future__ import annotations

import hashlib
import io
import itertools
import time

import pytest

from davfusion.server import BadBody, ClientDisconnected
from tests.server.app import BIG_BYTES
from tests.server.conftest import Running, Start

OK = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


def put(path: bytes, framing: bytes, *more: bytes) -> bytes:
    return (
        b"PUT " + path + b" HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n" + b"".join(m + b"\r\n" for m in more) + b"\r\n"
    )


def known(path: bytes, size: int, *more: bytes) -> bytes:
    return put(path, b"Content-Length: %d" % size, *more)


def chunked(path: bytes, *more: bytes) -> bytes:
    return put(path, b"Transfer-Encoding: chunked", *more)


def chunks(data: bytes, size: int) -> bytes:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def digest(data: bytes) -> bytes:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()


def test_known_length(server: Running) -> None:
    with server.connect() as wire:
        for size in (0, 1, 4096, 65536, len(BIG_BYTES)):
            body = BIG_BYTES[:size]
            assert wire.ask(known(b"/echo", size) + body).body == digest(body)


@pytest.mark.parametrize("at_once", [True, False])
def test_reading_is_as_from_a_file(server: Running, at_once: bool) -> None:
    """Whether the body has come with its head or later."""
    body = b"one\ntwo\nthree"
    ways = ["read", "read:0", "read:4", f"read:{len(body)}", "read:99", "readline", "read:-1"]
    with server.connect() as wire:
        for calls in itertools.product(ways, repeat=2):
            file = io.BytesIO(body)
            expected = [getattr(file, name)(*([int(size)] if size else []))
                        for name, _, size in (call.partition(":") for call in calls)]
            head = known(b"/pieces?" + ",".join(calls).encode(), len(body))
            for piece in [head + body] if at_once else [head, body[:6], body[6:]]:
                wire.send(piece)
            assert wire.answer().body == repr([*expected, file.read()]).encode(), calls


@pytest.mark.parametrize("size", [1, 3, 1000, 65536, 3_000_000])
def test_chunked(server: Running, size: int) -> None:
    body = BIG_BYTES[: size * 40]
    with server.connect() as wire:
        for _ in range(2):
            assert wire.ask(chunked(b"/echo") + chunks(body, size)).body == digest(body)
        assert wire.ask(OK).body == b"ok"


def test_chunked_byte_by_byte(server: Running) -> None:
    with server.connect() as wire:
        wire.send(chunked(b"/echo"))
        for byte in b"3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n":
            wire.send(bytes([byte]))
        assert wire.answer().body == digest(b"abc0123456789")
        assert wire.ask(OK).body == b"ok"


def test_nothing_follows_a_chunked_body(server: Running) -> None:
    """The end of the chunks and trailers is consumed: no later request or idle time stumbles over it."""
    with server.connect(timeout=0.5) as wire:
        for _ in range(3):
            assert wire.ask(chunked(b"/echo") + b"1\r\na\r\n0\r\nX: y\r\n\r\n").status == 200
        with pytest.raises(TimeoutError):
            wire.sock.recv(1)


MALFORMED = {
    "hex prefix": b"0x1\r\na\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "plus": b"+1\r\na\r\n0\r\n\r\n",
    "minus": b"-1\r\na\r\n0\r\n\r\n",
    "space": b"1 \r\na\r\n0\r\n\r\n",
    "space before": b" 1\r\na\r\n0\r\n\r\n",
    "empty": b"\r\na\r\n0\r\n\r\n",
    "no digits": b"xyz\r\n",
    "huge": b"1000000000000000\r\na",
    "bare LF": b"1\na\n0\n\n",
    "no line end": b"1\r\nab\r\n0\r\n\r\n",
    "short line end": b"1\r\na\n0\r\n\r\n",
    "long extension": b"1;" + b"x" * 2000 + b"\r\na\r\n0\r\n\r\n",
    "many extensions": (b"1;" + b"x" * 900 + b"\r\na\r\n") * 20 + b"0\r\n\r\n",
    "control in extension": b"1;a\x00b\r\na\r\n0\r\n\r\n",
    "trailer without colon": b"1\r\na\r\n0\r\nnonsense\r\n\r\n",
    "trailer with bare LF": b"1\r\na\r\n0\r\nX: y\n\r\n",
    "trailer with control": b"1\r\na\r\n0\r\nX: \x01\r\n\r\n",
    "long trailer": b"1\r\na\r\n0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
    "many trailers": b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_chunks(server: Running, case: str) -> None:
    with server.connect() as wire:
        answer = wire.ask(chunked(b"/echo") + MALFORMED[case] + OK)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert wire.ended()
    assert isinstance(server.app.body_errors[0], BadBody)
    assert [path for _, path in server.app.calls] == ["/echo"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        known(b"/echo", 1000) + b"a" * 100,
        known(b"/echo", 1000),
        known(b"/echo", 3_000_000) + b"a" * 2_999_999,
        chunked(b"/echo") + b"a\r\n01234",
        chunked(b"/echo") + b"a\r\n0123456789\r\n",
        chunked(b"/echo") + b"a\r\n0123456789\r\n0\r\n",
        chunked(b"/echo") + b"a\r\n0123456789\r\n0\r\nX: y\r\n",
        chunked(b"/echo") + b"a",
    ],
)
@pytest.mark.parametrize("way", ["half", "whole"])
def test_short_body_is_an_error(server: Running, request_bytes: bytes, way: str) -> None:
    with server.connect() as wire:
        wire.send(request_bytes)
        if way == "half":
            import socket

            wire.sock.shutdown(socket.SHUT_WR)
            assert wire.answer().status == 400
            assert wire.ended()
    assert server.app.body_error.wait(10)
    assert isinstance(server.app.body_errors[0], ClientDisconnected)
    assert server.ask(OK).body == b"ok"


def test_body_that_stands_still_is_cut(start: Start) -> None:
    server = start(io_timeout=0.3)
    with server.connect() as wire:
        assert wire.ask(known(b"/echo", 10) + b"abc").status == 408
        assert wire.ended()
    assert isinstance(server.app.body_errors[0], ClientDisconnected)


def test_body_that_crawls_is_cut(start: Start) -> None:
    server = start(io_timeout=5.0, min_rate=1000, min_rate_grace=0.5)
    with server.connect(timeout=0.05) as wire:
        wire.send(known(b"/echo", 100_000))
        deadline = time.monotonic() + 8
        while not server.app.body_error.is_set():
            assert time.monotonic() < deadline, "a crawling body was never cut off"
            try:
                wire.send(b"a")
                server.app.body_error.wait(0.05)
            except OSError:
                break
    assert server.app.body_error.wait(5)


def test_an_application_may_answer_a_short_body_itself(server: Running) -> None:
    import socket

    with server.connect() as wire:
        wire.send(known(b"/patient", 10) + b"abc")
        wire.sock.shutdown(socket.SHUT_WR)
        answer = wire.answer()
        assert answer.status == 409
        assert b"ClientDisconnected" in answer.body
        assert wire.ended()


def test_lines(server: Running) -> None:
    body = b"one\ntwo\n\nlast"
    for request in (known(b"/lines", len(body)) + body, chunked(b"/lines") + chunks(body, 2)):
        assert server.ask(request).body == repr(body.splitlines(keepends=True)).encode()


def test_continue_is_sent_on_the_first_read_only(server: Running) -> None:
    with server.connect() as wire:
        for _ in range(2):
            assert wire.ask(known(b"/echo", 3, b"Expect: 100-Continue")).status == 100
            assert wire.ask(b"abc").body == digest(b"abc")
        assert wire.ask(chunked(b"/echo", b"Expect: 100-continue")).status == 100
        assert wire.ask(b"3\r\nabc\r\n0\r\n\r\n").body == digest(b"abc")
        assert wire.ask(OK).body == b"ok"


def test_no_continue_for_a_body_that_came_already(server: Running) -> None:
    with server.connect() as wire:
        assert wire.ask(known(b"/echo", 3, b"Expect: 100-continue") + b"abc").status == 200
        assert wire.ask(known(b"/echo", 0, b"Expect: 100-continue")).status == 200
        assert wire.ask(OK).body == b"ok"


def test_no_continue_for_http_1_0(server: Running) -> None:
    with server.connect() as wire:
        wire.send(b"PUT /echo HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        time.sleep(0.05)
        assert wire.ask(b"abc").body == digest(b"abc")


@pytest.mark.parametrize("framing", [known, lambda path, _size, *more: chunked(path, *more)])
def test_refused_before_continue_closes(server: Running, framing) -> None:
    with server.connect() as wire:
        answer = wire.ask(framing(b"/refuse", 1000, b"Expect: 100-continue"))
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        wire.send(OK)
        assert wire.ended()
    assert [path for _, path in server.app.calls] == ["/refuse"]


def test_unread_bodies_are_drained(server: Running) -> None:
    with server.connect() as wire:
        for request in (
            known(b"/refuse", 500_000) + BIG_BYTES[:500_000],
            chunked(b"/refuse") + chunks(BIG_BYTES[:300_000], 7000),
        ):
            answer = wire.ask(request)
            assert answer.status == 401
            assert "connection" not in answer.headers
        assert wire.ask(OK).body == b"ok"


def test_a_large_unread_body_ends_the_connection_but_not_the_answer(server: Running) -> None:
    with server.connect() as wire:
        wire.send(known(b"/refuse", len(BIG_BYTES)) + BIG_BYTES)
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert wire.ended()
    with server.connect() as wire:
        wire.send(chunked(b"/refuse") + chunks(BIG_BYTES, 50_000))
        assert wire.answer().status == 401
        assert wire.ended()
    assert [path for _, path in server.app.calls] == ["/refuse"] * 2


def test_unread_malformed_body_does_not_desynchronise(server: Running) -> None:
    with server.connect() as wire:
        wire.send(chunked(b"/refuse") + b"zz\r\n" + OK)
        assert wire.answer().status == 401
        assert wire.ended()
    assert [path for _, path in server.app.calls] == ["/refuse"]


def test_a_client_that_reads_only_after_a_large_body_sees_the_refusal(start: Start) -> None:
    """As older Windows does: it sends all of a file before it looks at the 401."""
    server = start(linger_timeout=1.0)
    with server.connect() as wire:
        wire.send(known(b"/refuse", len(BIG_BYTES)))
        for at in range(0, len(BIG_BYTES), len(BIG_BYTES) // 6):
            wire.send(BIG_BYTES[at : at + len(BIG_BYTES) // 6])
            time.sleep(0.3)
        assert wire.answer().status == 401
        assert not wire.was_reset


def test_swallowing_has_an_end(start: Start) -> None:
    server = start(linger_timeout=5.0, max_linger=0.5)
    with server.connect() as wire:
        wire.send(known(b"/refuse", 10**12))
        deadline = time.monotonic() + 10
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                wire.send(b"a" * 1000)
                time.sleep(0.01)
        assert time.monotonic() < deadline
