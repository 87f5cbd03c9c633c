"""Rights and sign-in, method by method and over a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from davfusion.accounts import commands
from davfusion.accounts.addresses import TrustedProxies
from davfusion.accounts.errors import SignInBusyError, SignInUnavailableError, TooManyFailuresError
from davfusion.accounts.rights import Principal, Right, Rights
from davfusion.accounts.sign_in import SignIn
from davfusion.accounts.users_file import UsersFile
from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp
from davfusion.dav.request import Environ
from davfusion.server import ServerSettings, serve
from davfusion.store.memory import MemoryStore
from tests.dav.client import Client, set_property

READER = Rights(Right.READ, {"closed": Right.NONE, "open": Right.WRITE})


def authenticate(environ: Environ) -> Principal | None:
    return Principal("admin") if environ.get("HTTP_X_USER") == "admin" else Principal("reader", READER)


@pytest.fixture
def shares(tmp_path: Path) -> Iterator[dict[str, Share]]:
    shares = {f"/{name}": Share(tmp_path / name, MemoryStore(), name=name) for name in ("Closed", "Open", "Shown")}
    yield shares
    for share in shares.values():
        share.close()


@pytest.fixture
def filled(shares: dict[str, Share]) -> DavFusionApp:
    app = DavFusionApp(shares, authenticate=authenticate)
    admin = Client(app, user="admin")
    for place in shares:
        assert admin.put(f"{place}/f", b"data").status == admin.mkcol(f"{place}/d").status == 201
    return app


READING = {
    "OPTIONS": lambda client, at: client.request("OPTIONS", f"{at}/f"),
    "GET": lambda client, at: client.get(f"{at}/f"),
    "HEAD": lambda client, at: client.request("HEAD", f"{at}/f"),
    "PROPFIND": lambda client, at: client.propfind(f"{at}/", depth="1"),
}
CHANGING = {
    "PUT over": lambda client, at: client.put(f"{at}/f", b"new"),
    "PUT": lambda client, at: client.put(f"{at}/new", b"new"),
    "MKCOL": lambda client, at: client.mkcol(f"{at}/new"),
    "COPY": lambda client, at: client.copy(f"{at}/f", f"{at}/new"),
    "MOVE": lambda client, at: client.move(f"{at}/f", f"{at}/new"),
    "PROPPATCH": lambda client, at: client.proppatch(f"{at}/f", set_property("<z:a>1</z:a>")),
    "LOCK": lambda client, at: client.lock(f"{at}/f"),
    "LOCK new": lambda client, at: client.lock(f"{at}/new"),
    "DELETE": lambda client, at: client.delete(f"{at}/f"),
    "UNLOCK": lambda client, at: client.unlock(f"{at}/f", "opaquelocktoken:x"),
}


def snapshot(app: DavFusionApp, place: str) -> str:
    return Client(app, user="admin").propfind(place + "/", depth="infinity").text


@pytest.mark.parametrize("method", READING)
def test_reading(filled: DavFusionApp, method: str) -> None:
    client = Client(filled)
    for place in ("/Open", "/Shown", "/shown"):
        assert READING[method](client, place).status in (200, 207)
    refused = READING[method](client, "/Closed")
    assert refused.status == 403 and b"data" not in refused.body


@pytest.mark.parametrize("method", CHANGING)
def test_changing(filled: DavFusionApp, method: str) -> None:
    client = Client(filled)
    for place in ("/Shown", "/shown", "/Closed", "/CLOSED"):
        before = snapshot(filled, place)
        assert CHANGING[method](client, place).status == 403
        assert snapshot(filled, place) == before
    assert CHANGING[method](client, "/Open").status in (200, 201, 204, 207, 409)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(("target", "status"), [
    ("/Closed/x", 403), ("http://box/closed/x", 403), ("/Shown/x", 403), ("/%53hown/f", 403), ("//Closed/x", 502),
    ("/nowhere/x", 502), ("/Open/x", 201)])
def test_destinations(filled: DavFusionApp, method: str, target: str, status: int) -> None:
    before = [snapshot(filled, place) for place in ("/Closed", "/Shown")]
    assert Client(filled).request(method, "/Open/f", headers={"Destination": target}).status == status
    assert [snapshot(filled, place) for place in ("/Closed", "/Shown")] == before


def test_nothing_can_be_taken_out_of_a_share(filled: DavFusionApp) -> None:
    client = Client(filled)
    for source in ("/Closed/f", "/Shown/f"):
        for method in ("COPY", "MOVE"):
            assert client.request(method, source, headers={"Destination": "/Open/x"}).status == 403
    assert client.get("/Open/x").status == 404


def test_what_exists_in_a_closed_share_is_not_told(filled: DavFusionApp) -> None:
    client = Client(filled)
    answers = [client.request(method, f"/Closed/{name}") for method in ("GET", "DELETE", "OPTIONS", "X")
               for name in ("f", "none")]
    assert {(answer.status, answer.body) for answer in answers} == {(403, answers[0].body)}
    tagged = client.put("/Open/f", b"", If_="</Closed/f> ([\"x\"])")
    assert tagged.status == client.put("/Open/f", b"", If_="</Closed/none> ([\"x\"])").status == 412


def test_the_folder_of_shares_shows_what_may_be_read(filled: DavFusionApp) -> None:
    assert Client(filled).propfind("/", depth="1").hrefs() == ["/", "/Open/", "/Shown/"]
    assert "Closed" not in Client(filled).get("/").text and "Shown" in Client(filled).get("/").text
    assert "Closed" in Client(filled, user="admin").get("/").text


def test_what_may_be_done_is_told(filled: DavFusionApp) -> None:
    client = Client(filled)
    shown, opened = client.request("OPTIONS", "/Shown/f"), client.request("OPTIONS", "/Open/f")
    assert shown.headers["dav"] == "1, 3" and "PUT" not in shown.headers["allow"]
    assert opened.headers["dav"] == "1, 2, 3" and "PUT" in opened.headers["allow"]


def test_a_read_only_share_is_read_only_for_all(share: Share) -> None:
    app = DavFusionApp({"/": share}, authenticate=lambda environ: Principal("reader", Rights(Right.NONE)))
    assert Client(app).get("/").status == Client(app).put("/f", b"").status == 403


@pytest.mark.parametrize(("error", "status", "retry_after"), [
    (TooManyFailuresError("wait", retry_after=1.2), 429, "2"),
    (TooManyFailuresError("wait", retry_after=0), 429, "1"),
    (SignInBusyError("wait", retry_after=1), 503, "1"),
    (SignInUnavailableError("wait", retry_after=30), 503, "30"),
])
def test_sign_ins_that_are_not_decided(share: Share, error: Exception, status: int, retry_after: str) -> None:
    def refuse(environ: Environ) -> Principal:
        raise error

    answer = Client(DavFusionApp({"/": share}, authenticate=refuse)).put("/f", b"x")
    assert (answer.status, answer.headers["retry-after"], answer.text) == (status, retry_after, "wait\n")
    assert share.find("/f") is None


@pytest.fixture
def served(shares: dict[str, Share], tmp_path: Path) -> Iterator[str]:
    """The URL of a server whose users are alice, who writes, and Jürgen, who reads one share."""
    file = tmp_path / "users"
    commands.add(file, "alice", "correct horse")
    commands.add(file, "Jürgen", "Größe: €", default=Right.NONE, shares={"shown": Right.READ})
    app = DavFusionApp(shares, authenticate=SignIn(UsersFile(file), proxies=TrustedProxies(["127.0.0.1"])))
    stop, urls, ready = threading.Event(), list[str](), threading.Event()

    def listening(url: str) -> None:
        urls.append(url)
        ready.set()

    server = threading.Thread(target=serve, args=(app, ServerSettings(port=0)),
                              kwargs={"ready": listening, "stop": stop})
    server.start()
    try:
        assert ready.wait(30)
        yield urls[0]
    finally:
        stop.set()
        server.join(30)


def test_over_a_real_server(served: str, tmp_path: Path) -> None:
    with requests.Session() as session:
        def ask(method: str, path: str, user: str = "", password: str = "", **options: object) -> requests.Response:
            auth = (user.encode(), password.encode()) if user else None
            return session.request(method, served + path, auth=auth, timeout=30, **options)  # type: ignore[arg-type]

        asked = ask("PUT", "Shown/f", data=b"unsigned")
        assert asked.status_code == 401
        assert asked.headers["WWW-Authenticate"] == 'Basic realm="davfusion", charset="UTF-8"'
        assert ask("PUT", "Shown/f", "alice", "correct horse", data=b"hello").status_code == 201
        assert ask("GET", "Shown/f", "Jürgen", "Größe: €").content == b"hello"
        assert ask("DELETE", "Shown/f", "Jürgen", "Größe: €").status_code == 403
        assert ask("GET", "Open/", "Jürgen", "Größe: €").status_code == 403
        assert "Open" not in ask("GET", "", "Jürgen", "Größe: €").text
        moved = {"Destination": served + "Open/f"}
        assert ask("MOVE", "Shown/f", "Jürgen", "Größe: €", headers=moved).status_code == 403

        elsewhere = {"X-Forwarded-For": "203.0.113.9"}
        for number in range(5):
            assert ask("GET", "Shown/f", "alice", f"guess {number}", headers=elsewhere).status_code == 401
        refused = ask("PUT", "Shown/f", "alice", "guess again", headers=elsewhere, data=b"x")
        assert refused.status_code == 429 and 1 <= int(refused.headers["Retry-After"]) <= 2
        assert ask("GET", "Shown/f", "alice", "correct horse").content == b"hello"

        commands.passwd(tmp_path / "users", "alice", "battery staple")
        assert ask("GET", "Shown/f", "alice", "correct horse").status_code == 401
        assert ask("GET", "Shown/f", "alice", "battery staple").content == b"hello"
