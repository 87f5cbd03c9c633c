"""What a warm request costs, counted in calls of functions: that is the same on every machine, however busy."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from davfusion.accounts import commands
from davfusion.accounts.sign_in import SignIn
from davfusion.accounts.users_file import UsersFile
from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp
from tests.dav.client import Client

NAMED = b'<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><D:getcontentlength/></D:prop></D:propfind>'
DEPTH_0, DEPTH_1 = {"Depth": "0"}, {"Depth": "1"}

REQUESTS: dict[str, tuple[str, str, bytes, dict[str, str], int]] = {
    "GET": ("GET", "/d/f0", b"", {}, 100),
    "HEAD": ("HEAD", "/d/f0", b"", {}, 85),
    "PROPFIND of a file": ("PROPFIND", "/d/f0", NAMED, DEPTH_0, 150),
    "PROPFIND of a folder": ("PROPFIND", "/d/", NAMED, DEPTH_0, 150),
    "PROPFIND of its members": ("PROPFIND", "/d/", NAMED, DEPTH_1, 150),
}
"""Method, path, body, headers, and calls at most."""


def calls(action: Callable[[], object]) -> int:
    """How many functions an action calls, those in C included."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def least(action: Callable[[], object]) -> int:
    """The calls of an action, without those of what is measured now and then, as the room on the disk is."""
    return min(calls(action) for _ in range(5))


def statements(share: Share, action: Callable[[], object]) -> tuple[list[str], list[str]]:
    """The first words of what an action asks of the index outside of its transaction and in it, measured like that."""
    database = share.index._database
    fewest: tuple[list[str], list[str]] | None = None
    for _ in range(5):
        outside: list[str] = []
        inside: list[str] = []
        database.reader().set_trace_callback(outside.append)
        database._writer.set_trace_callback(inside.append)
        action()
        database.reader().set_trace_callback(None)
        database._writer.set_trace_callback(None)
        if fewest is None or len(outside) + len(inside) < len(fewest[0]) + len(fewest[1]):
            fewest = [each.split()[0] for each in outside], [each.split()[0] for each in inside]
    assert fewest is not None
    return fewest


@pytest.fixture
def filled(share: Share) -> Share:
    client = Client(DavFusionApp({"/": share}))
    client.mkcol("/d")
    for number in range(100):
        client.put(f"/d/f{number}", b"x" * 4096)
    return share


@pytest.mark.parametrize("name", REQUESTS)
def test_a_warm_request_is_cheap(filled: Share, name: str) -> None:
    method, path, body, headers, most = REQUESTS[name]
    app = DavFusionApp({"/": filled})
    assert cost(app, method, path, body, headers) <= most


@pytest.mark.parametrize("name", REQUESTS)
def test_a_warm_sign_in_is_cheap(filled: Share, tmp_path: Path, name: str) -> None:
    commands.add(tmp_path / "users", "alice", "correct horse")
    # as if it had been written long ago, so that its stamp can be believed
    now = (tmp_path / "users").stat().st_mtime
    users = UsersFile(tmp_path / "users", now=lambda: now + 60)
    method, path, body, headers, most = REQUESTS[name]
    app = DavFusionApp({"/": filled}, authenticate=SignIn(users))
    header = "Basic " + base64.b64encode(b"alice:correct horse").decode()
    assert cost(app, method, path, body, {**headers, "Authorization": header}) <= most + 20


def test_what_is_expensive_is_noticed(filled: Share) -> None:
    app = DavFusionApp({"/": filled})
    cold = calls(lambda: app(Client(app).environ("PROPFIND", "/d/", b"", DEPTH_1), lambda *_: None))
    assert cold > 2000


def cost(app: DavFusionApp, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    """The calls of a request that was answered before."""
    client = Client(app)
    for _ in range(3):
        assert client.request(method, path, body, headers).status in (200, 207)
    environ = client.environ(method, path, body, headers)
    return calls(lambda: app(environ, lambda *_: None))


def test_a_small_upload_is_cheap(filled: Share) -> None:
    """Nothing is looked up before its transaction, and that has five statements of its own."""
    app = DavFusionApp({"/": filled})
    client = Client(app)

    def put() -> None:
        result = app(client.environ("PUT", "/d/f0", b"x" * 4096, {}), lambda *_: None)
        b"".join(result)
        result.close()  # type: ignore[attr-defined]

    put()
    assert least(put) <= 300
    looked_up, written = statements(filled, put)
    assert looked_up == []
    assert written == [
        "BEGIN", "SELECT", "SELECT", "INSERT", "INSERT", "UPDATE", "COMMIT"]


def test_small_uploads_that_come_together_are_cheaper(filled: Share) -> None:
    app = DavFusionApp({"/": filled})
    client = Client(app)

    def put() -> None:
        begun = [app(client.environ("PUT", f"/d/f{number}", b"x" * 4096, {}), lambda *_: None) for number in range(8)]
        for result in begun:
            b"".join(result)
            result.close()  # type: ignore[attr-defined]

    put()
    assert least(put) <= 8 * 175
    looked_up, written = statements(filled, put)
    assert looked_up == []
    assert written == [
        "BEGIN", "SELECT", "SELECT", "SELECT", "INSERT", "INSERT", *["UPDATE"] * 8, "COMMIT"]
