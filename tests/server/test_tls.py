"""TLS: bodies both ways, clients that do not shake hands, and new certificates."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests.server.app import BIG_BYTES
from tests.server.conftest import Running, Start, make_certificate
from tests.server.wire import Wire

OK = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture
def secure(start: Start, certificate: tuple[Path, Path]) -> Running:
    return start(tls_cert=certificate[0], tls_key=certificate[1], threads=2, max_threads=2)


def test_both_ways(secure: Running, certificate: tuple[Path, Path]) -> None:
    assert secure.url.startswith("https://")
    with secure.connect(tls=trusting(certificate[0])) as wire:
        answer = wire.ask(
            b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BIG_BYTES), BIG_BYTES)
        )
        assert answer.body == f"{len(BIG_BYTES)} {hashlib.sha256(BIG_BYTES).hexdigest()}".encode()
        for path in (b"/big", b"/file"):
            assert wire.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path).body == BIG_BYTES
        for _ in range(20):
            assert wire.ask(OK).body == b"ok"
        assert b'"wsgi.url_scheme": "https"' in wire.ask(b"GET /environ HTTP/1.1\r\nHost: x\r\n\r\n").body


def test_pipelined_within_one_record(secure: Running, certificate: tuple[Path, Path]) -> None:
    with secure.connect(tls=trusting(certificate[0])) as wire:
        wire.send(OK * 200)
        for _ in range(200):
            assert wire.answer().body == b"ok"


def test_chunked_and_continue(secure: Running, certificate: tuple[Path, Path]) -> None:
    request = b"PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    with secure.connect(tls=trusting(certificate[0])) as wire:
        assert wire.ask(request).status == 100
        for byte in b"3\r\nabc\r\n0\r\n\r\n":
            wire.send(bytes([byte]))
        assert wire.answer().body.startswith(b"3 ")


def test_an_answered_close_is_a_clean_end_of_the_stream(secure: Running, certificate: tuple[Path, Path]) -> None:
    context = trusting(certificate[0])
    with secure.connect() as wire:
        wire.sock = context.wrap_socket(wire.sock, server_hostname="localhost", suppress_ragged_eofs=False)
        answer = wire.ask(b"GET /stream HTTP/1.0\r\n\r\n")
        assert answer.body.endswith(b"part 4;")


def test_a_failed_answer_is_a_cut_stream(secure: Running, certificate: tuple[Path, Path]) -> None:
    context = trusting(certificate[0])
    with secure.connect() as wire:
        wire.sock = context.wrap_socket(wire.sock, server_hostname="localhost", suppress_ragged_eofs=False)
        wire.send(b"GET /boom-midway HTTP/1.0\r\n\r\n")
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            while wire.sock.recv(1000):
                pass


def test_plain_http_gets_an_answer(secure: Running) -> None:
    with secure.connect() as wire:
        answer = wire.ask(OK)
        assert answer.status == 400
        assert b"https" in answer.body


def test_clients_that_do_not_shake_hands_hold_no_thread(secure: Running, certificate: tuple[Path, Path]) -> None:
    context = trusting(certificate[0])
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(secure.address))
            stack.enter_context(socket.create_connection(secure.address)).sendall(b"\x16\x03\x01\x02")
        began = time.monotonic()
        with secure.connect(tls=context) as wire:
            assert wire.ask(OK).body == b"ok"
        assert time.monotonic() - began < 3


def test_half_a_handshake_is_cut(start: Start, certificate: tuple[Path, Path]) -> None:
    server = start(tls_cert=certificate[0], tls_key=certificate[1], head_timeout=0.4)
    with server.connect() as wire:
        wire.send(b"\x16\x03\x01\x02")
        assert wire.ended()


def test_garbage_is_cut(start: Start, certificate: tuple[Path, Path]) -> None:
    secure = start(tls_cert=certificate[0], tls_key=certificate[1], head_timeout=0.4)
    for garbage in (b"\x16\x03\x01\x00\x05hello", b"\x80" * 100, b"\x00\n"):
        with secure.connect() as wire:
            wire.send(garbage)
            wire.rest()
    with secure.connect(tls=trusting(certificate[0])) as wire:
        assert wire.ask(OK).body == b"ok"


def test_a_new_certificate_is_taken_up(start: Start, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "localhost")
    old = trusting(certificate)
    reload = threading.Event()
    server = start(tls_cert=certificate, tls_key=key, reload_tls=reload)
    with Wire(server.address, tls=old) as kept:
        assert kept.ask(OK).body == b"ok"
        make_certificate(tmp_path, "localhost")
        new = trusting(certificate)
        reload.set()

        def taken_up() -> bool:
            try:
                with Wire(server.address, tls=new) as wire:
                    return wire.ask(OK).body == b"ok"
            except ssl.SSLError:
                return False

        deadline = time.monotonic() + 10
        while not taken_up():
            assert time.monotonic() < deadline
        assert kept.ask(OK).body == b"ok"
        key.write_text("broken")
        reload.set()
        deadline = time.monotonic() + 10
        while reload.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with Wire(server.address, tls=new) as wire:
            assert wire.ask(OK).body == b"ok"
