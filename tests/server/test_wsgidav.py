"""An unchanged WsgiDAV application runs on this server."""

from __future__ import annotations

from pathlib import Path

from wsgidav.fs_dav_provider import FilesystemProvider
from wsgidav.wsgidav_app import WsgiDAVApp

from tests.server.app import BIG_BYTES
from tests.server.conftest import Start
from tests.server.wire import Wire


def ask(wire: Wire, method: str, path: str, *headers: str, body: bytes | None = None):
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, *length, "", ""])
    return wire.ask(head.encode() + (body or b""), head=method == "HEAD")


def test_wsgidav(start: Start, tmp_path: Path) -> None:
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": FilesystemProvider(str(tmp_path))},
            "simple_dc": {"user_mapping": {"*": True}},
            "logging": {"enable": False},
            "verbose": 1,
        }
    )
    server = start(app)
    with server.connect() as wire:
        assert ask(wire, "OPTIONS", "/").headers["dav"].startswith("1,2")
        assert ask(wire, "MKCOL", "/a%20b").status == 201
        assert ask(wire, "OPTIONS", "/a%20b").status == 200
        assert ask(wire, "PUT", "/a%20b/%C3%BC%23.bin", body=BIG_BYTES).status == 201
        assert (tmp_path / "a b" / "ü#.bin").read_bytes() == BIG_BYTES
        assert ask(wire, "GET", "/a%20b/%C3%BC%23.bin").body == BIG_BYTES
        assert ask(wire, "HEAD", "/a%20b/%C3%BC%23.bin").headers["content-length"] == str(len(BIG_BYTES))
        part = ask(wire, "GET", "/a%20b/%C3%BC%23.bin", "Range: bytes=10-19")
        assert (part.status, part.body) == (206, BIG_BYTES[10:20])
        listing = ask(wire, "PROPFIND", "/a%20b", "Depth: 1", body=b"")
        assert listing.status == 207
        assert b"%C3%BC%23.bin" in listing.body
        assert ask(wire, "MOVE", "/a%20b", "Destination: http://x/c").status == 201
        assert ask(wire, "PUT", "/nowhere/x", body=b"123").status == 409
        wire.send(b"PUT /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert wire.answer().status == 201
        assert ask(wire, "DELETE", "/c").status == 204
        assert ask(wire, "GET", "/c").status == 404
    assert [path.name for path in tmp_path.iterdir()] == ["chunked"]
