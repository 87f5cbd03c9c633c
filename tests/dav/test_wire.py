"""Over real servers: what a broken upload leaves behind, under our application and under WsgiDAV's own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.dav.serving import exchange, served

OLD = b"the old content"
SIZE = 200_000


@dataclass
class Site:
    """A server with one file, `old`."""

    url: str
    state: Path

    def assert_untouched(self) -> None:
        """Nothing changed and nothing new is there."""
        assert requests.get(self.url + "old", timeout=10).content == OLD
        assert requests.get(self.url + "new", timeout=10).status_code == 404
        listing = requests.request("PROPFIND", self.url, headers={"Depth": "1"}, timeout=10)
        assert listing.status_code == 207
        assert "old" in listing.text and "new" not in listing.text
        deadline = time.monotonic() + 10
        while any((self.state / "incoming").iterdir()):
            assert time.monotonic() < deadline, "a temporary file was left"
            time.sleep(0.02)


STRICT = [("ours", "fusion"), ("stock", "fusion")]
"""cheroot itself takes a chunk size of 0 without a line end, or below 0, for the proper end of a body."""
ALL = [*STRICT, ("ours", "cheroot"), ("stock", "cheroot")]


@pytest.fixture(scope="module", params=ALL, ids="-".join)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    app, server = request.param
    state = tmp_path_factory.mktemp("wire") / "state"
    with served(app, server, state) as url:
        yield Site(url, state)


@pytest.fixture
def site(running: Site) -> Site:
    assert requests.put(running.url + "old", data=OLD, timeout=10).status_code in (201, 204)
    requests.delete(running.url + "new", timeout=10)
    return running


def head(name: str, *lines: str) -> bytes:
    return "\r\n".join([f"PUT /{name} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def upload(site: Site, data: bytes) -> int | None:
    """Send, close our side, and tell the status of the answer, if one came."""
    answer = exchange(site.url, data, half_close=True)
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else None


@pytest.mark.parametrize("name", ["old", "new"])
@pytest.mark.parametrize("sent", [0, 1, 65_536, 131_072, SIZE - 1])
def test_a_body_cut_short_of_its_length(site: Site, name: str, sent: int) -> None:
    status = upload(site, head(name, f"Content-Length: {SIZE}") + b"x" * sent)
    assert status is None or status >= 400
    site.assert_untouched()


@pytest.mark.parametrize("name", ["old", "new"])
@pytest.mark.parametrize("body", [
    b"", b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"zz\r\nhello\r\n0\r\n\r\n",
    b"10000\r\n" + b"x" * 65_536 + b"\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n10000\r\n" + b"x" * 100,
])
def test_a_chunked_body_that_does_not_end_properly(site: Site, name: str, body: bytes) -> None:
    status = upload(site, head(name, "Transfer-Encoding: chunked") + body)
    assert status is None or status >= 400
    site.assert_untouched()


@pytest.mark.parametrize("running", STRICT, indirect=True, ids="-".join)
@pytest.mark.parametrize("name", ["old", "new"])
@pytest.mark.parametrize("body", [b"5\r\nhello\r\n0", b"-5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n"])
def test_a_chunked_body_that_only_a_strict_server_doubts(site: Site, name: str, body: bytes) -> None:
    test_a_chunked_body_that_does_not_end_properly(site, name, body)


def test_a_chunked_body_shorter_than_expected(site: Site) -> None:
    status = upload(site, head("new", "Transfer-Encoding: chunked", "X-Expected-Entity-Length: 6",
                               "Connection: close") + b"5\r\nhello\r\n0\r\n\r\n")
    assert status == 400
    site.assert_untouched()


def test_a_client_that_vanishes(site: Site) -> None:
    address = urlsplit(site.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(head("new", f"Content-Length: {SIZE}") + b"x" * 1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    site.assert_untouched()


def test_a_new_file_is_not_seen_before_it_is_whole(site: Site) -> None:
    address = urlsplit(site.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(head("new", "Content-Length: 10") + b"12345")
        site_listing = requests.request("PROPFIND", site.url, headers={"Depth": "1"}, timeout=10)
        assert "new" not in site_listing.text
        assert requests.get(site.url + "new", timeout=10).status_code == 404
        connection.sendall(b"67890")
        assert b" 201 " in connection.recv(4096)
    assert requests.get(site.url + "new", timeout=10).content == b"1234567890"
    assert requests.delete(site.url + "new", timeout=10).status_code == 204


@pytest.mark.parametrize("running", [("ours", "cheroot"), ("ours", "fusion")], indirect=True, ids="-".join)
def test_options_decode_the_path(site: Site) -> None:
    assert requests.put(site.url + "a%20b", data=b"", timeout=10).status_code == 201
    assert "GET" in requests.options(site.url + "a%20b", timeout=10).headers["Allow"]
    assert requests.delete(site.url + "a%20b", timeout=10).status_code == 204


@pytest.mark.parametrize("start", [0, 100_000])
def test_large_files_come_back_whole_and_in_parts(site: Site, start: int) -> None:
    content = bytes(range(256)) * 8192
    assert requests.put(site.url + "big", data=content, timeout=10).status_code in (201, 204)
    assert requests.get(site.url + "big", timeout=10).content == content
    part = requests.get(site.url + "big", headers={"Range": f"bytes={start}-{start + 299_999}"}, timeout=10)
    assert (part.status_code, part.content) == (206, content[start:start + 300_000])
    assert requests.delete(site.url + "big", timeout=10).status_code == 204
