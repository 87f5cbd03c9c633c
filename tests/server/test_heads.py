"""Request heads that are refused, and those that must not be."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.server.conftest import Running, Start

HOST = b"Host: x\r\n"


def get(target: bytes, headers: bytes = HOST, version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + headers + b"\r\n"


REFUSED = {
    "two lengths": (400, get(b"/ok", HOST + b"Content-Length: 2\r\nContent-Length: 3\r\n") + b"abc"),
    "one length twice": (400, get(b"/ok", HOST + b"Content-Length: 2\r\nContent-Length: 2\r\n") + b"ab"),
    "length list": (400, get(b"/ok", HOST + b"Content-Length: 2, 2\r\n") + b"ab"),
    "length plus": (400, get(b"/ok", HOST + b"Content-Length: +2\r\n") + b"ab"),
    "length minus": (400, get(b"/ok", HOST + b"Content-Length: -1\r\n")),
    "length underscore": (400, get(b"/ok", HOST + b"Content-Length: 1_0\r\n") + b"0123456789"),
    "length hex": (400, get(b"/ok", HOST + b"Content-Length: 0x2\r\n") + b"ab"),
    "length empty": (400, get(b"/ok", HOST + b"Content-Length:\r\n")),
    "length huge": (400, get(b"/ok", HOST + b"Content-Length: 9999999999999999999\r\n")),
    "length in other digits": (400, get(b"/ok", HOST + b"Content-Length: \xb2\r\n") + b"ab"),
    "length and chunked": (
        400,
        get(b"/ok", HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    ),
    "chunked twice": (400, get(b"/ok", HOST + b"Transfer-Encoding: chunked, chunked\r\n") + b"0\r\n\r\n"),
    "chunked twice in two": (
        400,
        get(b"/ok", HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    ),
    "chunked not last": (400, get(b"/ok", HOST + b"Transfer-Encoding: chunked, gzip\r\n")),
    "unknown coding": (501, get(b"/ok", HOST + b"Transfer-Encoding: gzip\r\n")),
    "disguised coding": (501, get(b"/ok", HOST + b"Transfer-Encoding: xchunked\r\n")),
    "space before colon": (400, get(b"/ok", HOST + b"Transfer-Encoding : chunked\r\n") + b"0\r\n\r\n"),
    "folded header": (400, get(b"/ok", HOST + b"X-A: 1\r\n  2\r\n")),
    "header without colon": (400, get(b"/ok", HOST + b"nonsense\r\n")),
    "header without name": (400, get(b"/ok", HOST + b": 1\r\n")),
    "header with control": (400, get(b"/ok", HOST + b"X-A: a\x01b\r\n")),
    "header with zero": (400, get(b"/ok", HOST + b"X-A: a\x00b\r\n")),
    "header with bare CR": (400, get(b"/ok", HOST + b"X-A: a\rX-B: b\r\n")),
    "header with bare LF": (400, get(b"/ok", HOST + b"X-A: a\nX-B: b\r\n")),
    "bare LF only": (400, b"GET /ok HTTP/1.1\nHost: x\n\n"),
    "no host": (400, get(b"/ok", b"")),
    "two hosts": (400, get(b"/ok", b"Host: a\r\nHost: b\r\n")),
    "host with path": (400, get(b"/ok", b"Host: a/b\r\n")),
    "host with user": (400, get(b"/ok", b"Host: a@b\r\n")),
    "host with space": (400, get(b"/ok", b"Host: a b\r\n")),
    "chunked in 1.0": (
        400,
        get(b"/ok", HOST + b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0") + b"0\r\n\r\n",
    ),
    "version 0.9": (400, b"GET /ok\r\n\r\n"),
    "version 2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "version text": (400, get(b"/ok", version=b"HTTP/1.one")),
    "other protocol": (400, get(b"/ok", version=b"ICY/1.1")),
    "two spaces": (400, b"GET  /ok HTTP/1.1\r\nHost: x\r\n\r\n"),
    "tab": (400, b"GET\t/ok HTTP/1.1\r\nHost: x\r\n\r\n"),
    "space in path": (400, get(b"/o k")),
    "control in path": (400, get(b"/o\x02k")),
    "encoded zero": (400, get(b"/o%00k")),
    "encoded line end": (400, get(b"/o%0d%0ak")),
    "not UTF-8": (400, get(b"/%ff%fe")),
    "not UTF-8, raw": (400, get(b"/\xff\xfe")),
    "surrogate": (400, get(b"/%ed%a0%80")),
    "overlong": (400, get(b"/%c0%ae%c0%ae/")),
    "bad escape": (400, get(b"/%zz")),
    "cut escape": (400, get(b"/a%2")),
    "up": (400, get(b"/../x")),
    "up, encoded": (400, get(b"/a/%2e%2E/x")),
    "up, encoded slash": (400, get(b"/a/..%2fx")),
    "up at the end": (400, get(b"/a/..")),
    "here": (400, get(b"/a/./x")),
    "fragment": (400, get(b"/a#b")),
    "no slash": (400, get(b"ok")),
    "other scheme": (400, get(b"ftp://x/ok")),
    "absolute without host": (400, get(b"http:///ok")),
    "absolute with user": (400, get(b"http://u@x/ok")),
    "star for GET": (400, get(b"*")),
    "CONNECT": (501, get(b"x:443", method=b"CONNECT")),
    "lower-case method": (501, get(b"/ok", method=b"get")),
    "method no token": (400, get(b"/ok", method=b"GE(T")),
    "TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00"),
    "binary": (400, b"\x00\x00\x00"),
    "unknown expectation": (417, get(b"/ok", HOST + b"Expect: tea\r\n")),
    "long target": (414, get(b"/" + b"a" * 20000)),
    "endless target": (414, b"GET /" + b"a" * 20000),
    "large head": (431, get(b"/ok", HOST + b"X-A: " + b"a" * 70000 + b"\r\n")),
    "endless head": (431, b"GET /ok HTTP/1.1\r\nX-A: " + b"a" * 70000),
    "many headers": (431, get(b"/ok", HOST + b"X: 1\r\n" * 101)),
    "two blank lines before": (400, b"\r\n\r\n" + get(b"/ok")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_an_answer_and_a_close(server: Running, case: str) -> None:
    status, request = REFUSED[case]
    with server.connect() as wire:
        answer = wire.ask(request + get(b"/second"))
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert answer.body.endswith(b".\n")
        assert wire.ended()
    assert server.app.calls == []
    assert server.ask(get(b"/ok")).status == 200


SEEN = {
    "plain": (b"/a/b", "/a/b"),
    "escaped": (b"/a%20b%23%3F%3B%25", "/a b#?;%"),
    "once only": (b"/%2541", "/%41"),
    "umlaut": (b"/%C3%BC", "/ü"),
    "umlaut, raw": ("/ü".encode(), "/ü"),
    "decomposed": (b"/u%CC%88", "/u\u0308"),
    "emoji": (b"/%F0%9F%8E%89", "/🎉"),
    "plus": (b"/a+b", "/a+b"),
    "semicolon": (b"/a;b=1", "/a;b=1"),
    "hidden": (b"/.DS_Store", "/.DS_Store"),
    "dots in a name": (b"/..a/b../...", "/..a/b../..."),
    "two slashes": (b"//a///b", "/a/b"),
    "absolute": (b"http://other:81/a%20b", "/a b"),
    "absolute, capitals": (b"HTTP://other/a", "/a"),
    "absolute, no path": (b"http://other", "/"),
    "quotes": (b"/it's(1)[2]{3}!$&,=@:~", "/it's(1)[2]{3}!$&,=@:~"),
}


@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"PROPFIND"])
@pytest.mark.parametrize("case", SEEN)
def test_path_is_decoded_once(server: Running, case: str, method: bytes) -> None:
    target, path = SEEN[case]
    answer = server.ask(get(target + b"?q=%20", method=method))
    assert answer.status == 200
    environ = json.loads(answer.body)
    assert environ["PATH_INFO"].encode("latin-1").decode() == path
    assert environ["REQUEST_URI"] == (target + b"?q=%20").decode("latin-1")
    assert environ["QUERY_STRING"] == "q=%20"


def test_absolute_target_overrides_host(server: Running) -> None:
    environ = json.loads(server.ask(get(b"http://other:81/a")).body)
    assert environ["HTTP_HOST"] == "other:81"


def test_options_star(server: Running) -> None:
    environ = json.loads(server.ask(get(b"*", method=b"OPTIONS")).body)
    assert environ["PATH_INFO"] == "*"


def test_environ_of_headers(server: Running) -> None:
    headers = (
        HOST
        + b"X-One: a\r\nx-one:\tb \r\nCookie: a=1\r\nCookie: b=2\r\nX_Under: no\r\nProxy: evil\r\n"
        + b"Content-Type: text/x\r\nX-Latin: \xe4\r\n"
    )
    environ = json.loads(server.ask(get(b"/x", headers)).body)
    assert environ["HTTP_X_ONE"] == "a, b"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["CONTENT_TYPE"] == "text/x"
    assert environ["HTTP_X_LATIN"] == "ä"
    assert "HTTP_X_UNDER" not in environ
    assert "HTTP_PROXY" not in environ
    assert environ["wsgi.input_terminated"] is True
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["SERVER_PORT"] == str(server.address[1])
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_host_forms(server: Running) -> None:
    for host in (b"", b"a", b"a.b:80", b"[::1]:80", b"10.0.0.1", b"a_b"):
        assert server.ask(get(b"/ok", b"Host: " + host + b"\r\n")).status == 200


def test_one_blank_line_before_a_request_is_skipped(server: Running) -> None:
    with server.connect() as wire:
        assert wire.ask(b"\r\n" + get(b"/ok")).status == 200
        assert wire.ask(b"\r\n" + get(b"/ok")).status == 200


@pytest.mark.parametrize("step", [1, 7])
def test_head_in_pieces(server: Running, step: int) -> None:
    request = get(b"/environ", HOST + b"X-Long: " + b"v" * 300 + b"\r\n")
    with server.connect() as wire:
        for start in range(0, len(request), step):
            wire.send(request[start : start + step])
        assert json.loads(wire.answer().body)["HTTP_X_LONG"] == "v" * 300


def test_slow_head_is_cut_by_its_deadline(start: Start) -> None:
    server = start(head_timeout=0.5)
    with server.connect() as wire:
        began = time.monotonic()
        wire.send(b"GET /ok HTTP/1.1\r\nHo")
        assert wire.answer().status == 408
        assert wire.ended()
        assert time.monotonic() - began < 5
    assert server.app.calls == []


def test_dripping_does_not_extend_the_deadline(start: Start) -> None:
    server = start(head_timeout=0.6)
    with server.connect(timeout=0.05) as wire:
        wire.send(b"GET /ok HTTP/1.1\r\nX: ")
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            try:
                wire.send(b"a")
                if wire.sock.recv(1):
                    break
            except TimeoutError:
                continue
        else:
            pytest.fail("a dripping client was never cut off")


def test_idle_connection_is_closed_in_silence(start: Start) -> None:
    server = start(idle_timeout=0.4)
    with server.connect() as fresh, server.connect() as used:
        assert used.ask(get(b"/ok")).status == 200
        assert fresh.ended()
        assert used.ended()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_a_head_that_comes_in_pieces(server: Running, size: int) -> None:
    request = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.connect() as wire:
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for at in range(0, len(request), size):
                wire.send(request[at : at + size])
                time.sleep(0.002)
            assert wire.answer().body == b"ok"


def test_fields_that_were_known_are_not_taken_for_others(server: Running) -> None:
    """Header lines may be the same as in the request before; what the request line says may not be mixed up."""
    same = b"Host: first\r\nX-Note: same\r\n\r\n"
    with server.connect() as wire:
        for line, host in [
            (b"GET /environ HTTP/1.1", "first"),
            (b"GET http://second/environ HTTP/1.1", "second"),
            (b"GET /environ HTTP/1.1", "first"),
            (b"GET /environ?a HTTP/1.1", "first"),
        ]:
            shown = json.loads(wire.ask(line + b"\r\n" + same).body)
            assert (shown["HTTP_HOST"], shown["HTTP_X_NOTE"]) == (host, "same")
        assert json.loads(wire.ask(b"GET /environ HTTP/1.1\r\nHost: first\r\n\r\n").body).get("HTTP_X_NOTE") is None
        assert wire.ask(b"GET /environ HTTP/1.0\r\n" + same).headers["connection"] == "close"
        assert wire.ended()


def test_an_application_that_changes_its_environ_changes_no_other(start: Start) -> None:
    def app(environ, start_response):
        seen = environ.get("HTTP_X_NOTE"), environ.get("added")
        environ["HTTP_X_NOTE"] = "spoilt"
        environ["added"] = "yes"
        start_response("200 OK", [])
        return [repr(seen).encode()]

    server = start(app)
    with server.connect() as wire:
        for _ in range(3):
            assert wire.ask(b"GET / HTTP/1.1\r\nHost: x\r\nX-Note: a\r\n\r\n").body == b"('a', None)"
