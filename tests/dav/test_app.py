"""The application: several shares, sign-in, broken stores, what goes wrong."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from davfusion.accounts.rights import Principal, Right, Rights
from davfusion.cache.listing import Freshness
from davfusion.cache.share import CacheSettings, Share
from davfusion.dav.app import DavFusionApp
from davfusion.dav.request import DavSettings, Environ
from davfusion.store import errors
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from tests.dav.client import Client, D, set_property


@pytest.fixture
def two(tmp_path: Path) -> Iterator[dict[str, Share]]:
    shares = {f"/{name}": Share(tmp_path / name, MemoryStore(), name=name) for name in ("Photos", "mein büro")}
    yield shares
    for share in shares.values():
        share.close()


def test_shares_are_found_by_name(two: dict[str, Share]) -> None:
    client = Client(DavFusionApp(two))
    assert client.put("/Photos/a", b"1").status == 201
    assert client.get("/photos/a").body == b"1"
    assert client.put("/mein%20b%C3%BCro/b", b"2").status == 201
    assert client.find("/mein%20b%C3%BCro/", D + "getetag", depth="1").hrefs() == [
        "/mein%20b%C3%BCro/", "/mein%20b%C3%BCro/b"]
    assert client.move("/Photos/a", "http://box/Photos/c").status == 201
    assert client.get("/Photos").headers["location"] == "/Photos/"
    assert client.get("/nowhere/a").status == 404
    assert client.copy("/Photos/c", "/mein%20b%C3%BCro/c").status == 502
    assert client.copy("/Photos/c", "/nowhere/c").status == 502
    token = client.lock("/Photos/c").token
    assert client.put("/Photos/c", b"", If_=f"</Photos/c> (<{token}>)").status == 204
    assert client.put("/mein%20b%C3%BCro/b", b"", If_=f"</Photos/c> (<{token}>)").status == 412


def test_the_folder_of_shares_can_only_be_read(two: dict[str, Share]) -> None:
    client = Client(DavFusionApp(two))
    answer = client.propfind("/", depth="1")
    assert answer.hrefs() == ["/", "/Photos/", "/mein%20b%C3%BCro/"]
    assert answer.value(D + "displayname", "/Photos/") == "Photos"
    assert client.propfind("/", depth="0").hrefs() == ["/"]
    assert client.propfind("/", depth="infinity").status == 403
    page = client.get("/")
    assert page.status == 200 and 'href="/Photos/"' in page.text
    options = client.request("OPTIONS", "/")
    assert options.status == 200 and options.headers["dav"] == "1, 3"
    assert client.request("OPTIONS", "*").headers["dav"] == "1, 2, 3"
    for answer in (client.put("/", b""), client.delete("/"), client.lock("/"), client.proppatch("/", "")):
        assert answer.status == 403
    assert client.mkcol("/new").status == client.put("/new", b"").status == 404


def test_below_a_script_name(two: dict[str, Share]) -> None:
    client = Client(DavFusionApp(two))
    environ = {"SCRIPT_NAME": "/d\xc3\xa4v"}
    assert client.request("PUT", "/Photos/a", b"1", **environ).status == 201
    assert client.request("PROPFIND", "/Photos", headers={"Depth": "1"}, **environ).hrefs() == [
        "/d%C3%A4v/Photos/", "/d%C3%A4v/Photos/a"]
    assert client.request("PROPFIND", "/", headers={"Depth": "1"}, **environ).hrefs()[:2] == [
        "/d%C3%A4v/", "/d%C3%A4v/Photos/"]
    moved = client.request("MOVE", "/Photos/a", headers={"Destination": "http://box/d%C3%A4v/Photos/b"}, **environ)
    assert moved.status == 201
    assert client.request("MOVE", "/Photos/b", headers={"Destination": "/Photos/a"}, **environ).status == 502


@pytest.mark.parametrize("places", [["/", "/a"], ["/a/b"], ["/.."]])
def test_places_that_make_no_sense(share: Share, places: list[str]) -> None:
    with pytest.raises(ValueError, match="share"):
        DavFusionApp(dict.fromkeys(places, share))


def test_behind_a_proxy_that_changes_scheme_and_host(share: Share) -> None:
    strict = Client(DavFusionApp({"/": share}), host="127.0.0.1:8080")
    lenient = Client(DavFusionApp({"/": share}, settings=DavSettings(any_destination_host=True)), host="127.0.0.1:8080")
    strict.put("/a", b"")
    assert strict.move("/a", "https://cloud.example/b").status == 502
    assert lenient.move("/a", "https://cloud.example/b").status == 201


def test_sign_in(share: Share) -> None:
    def authenticate(environ: Environ) -> Principal | None:
        name = environ.get("HTTP_X_USER")
        return None if name is None else Principal(name, Rights(Right.WRITE if name == "writer" else Right.READ))

    app = DavFusionApp({"/": share}, authenticate=authenticate)
    answer = Client(app).get("/")
    assert answer.status == 401 and answer.headers["www-authenticate"].startswith('Basic realm="')
    assert Client(app, user="writer").put("/f", b"x").status == 201
    assert Client(app, user="reader").put("/f", b"y").status == 403
    assert Client(app, user="reader").get("/f").body == b"x"


class Switch:
    """A plan for a store that fails in a chosen way."""

    def __init__(self) -> None:
        self.error: errors.StoreError | None = None

    def __call__(self, call: Call) -> Fault | None:
        return None if self.error is None else Fault(before=self.error)


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def unsteady(tmp_path: Path, switch: Switch) -> Iterator[Client]:
    store = MemoryStore()
    for folder in ("/known", "/strange"):
        store.create_directory(folder)
        store.store_fileobject(io.BytesIO(b"remote"), f"{folder}/f")
    freshness = Freshness(revalidate_after=0.0, cold_deadline=1.0, stale_deadline=0.2)
    share = Share(tmp_path / "unsteady", FaultyStore(store, switch), settings=CacheSettings(freshness=freshness))
    client = Client(DavFusionApp({"/": share}))
    assert client.propfind("/known", depth="1").status == 207
    yield client
    share.close()


@pytest.mark.parametrize(("error", "statuses", "retry"), [
    (errors.TemporaryError("away", retry_after=7), {503}, {"7"}),
    (errors.RateLimitedError("slower", retry_after=3), {503}, {"3"}),
    (errors.SignInNeededError("who are you"), {502}, {None}),
    (errors.PermanentError("no"), {502}, {None}),
    (errors.PermissionDeniedError("no"), {403}, {None}),
])
def test_a_store_that_cannot_be_asked_is_never_an_absence(
        unsteady: Client, switch: Switch, error: errors.StoreError, statuses: set[int], retry: set[str | None]) -> None:
    switch.error = error
    for answer in (unsteady.get("/strange/f"), unsteady.request("HEAD", "/strange/f"), unsteady.propfind("/strange/f"),
                   unsteady.propfind("/strange", depth="1"), unsteady.put("/strange/f", b"x"),
                   unsteady.delete("/strange/f"), unsteady.mkcol("/strange/d"), unsteady.lock("/strange/f"),
                   unsteady.copy("/strange/f", "/known/g"), unsteady.move("/known/f", "/strange/g"),
                   unsteady.proppatch("/strange/f", set_property("<z:a/>")), unsteady.get("/known/f"),
                   unsteady.get("/strange/f/")):
        assert answer.status in statuses
        assert answer.headers.get("retry-after") in retry
    assert unsteady.request("OPTIONS", "/strange/f").status == 200
    # What is known here goes on.
    assert unsteady.put("/known/new", b"local").status == 201
    assert unsteady.get("/known/new").body == b"local"
    assert unsteady.propfind("/known", depth="1").status == 207
    switch.error = None
    assert unsteady.get("/strange/f").body == b"remote"


def test_a_store_that_fails_in_the_middle_breaks_the_answer_off(tmp_path: Path, switch: Switch) -> None:
    store = MemoryStore()
    size = 64 << 20
    store.store_fileobject(io.BytesIO(bytes(size)), "/f")
    share = Share(tmp_path / "state", FaultyStore(store, switch))
    client = Client(DavFusionApp({"/": share}))
    started: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started.append(status)

    body = client.app(client.environ("GET", "/f", b"", {}), start_response)
    pieces = iter(body)
    received = len(next(pieces))
    switch.error = errors.TemporaryError("away")
    with pytest.raises(errors.StoreError):
        for piece in pieces:
            received += len(piece)
    body.close()  # type: ignore[attr-defined]
    assert started == ["200 OK"] and 0 < received < size
    share.close()


def test_unknown_errors_are_logged_and_not_told(share: Share, caplog: pytest.LogCaptureFixture) -> None:
    def authenticate(environ: Environ) -> Principal | None:
        raise ZeroDivisionError("secret")

    answer = Client(DavFusionApp({"/": share}, authenticate=authenticate)).get("/")
    assert answer.status == 500 and b"secret" not in answer.body
    assert any(record.exc_info for record in caplog.records if record.name == "davfusion.dav.app")


def test_every_request_is_logged_once(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "davfusion.access"):
        client.get("/missing")
        client.put("/f", b"")
    logged: list[Any] = [record for record in caplog.records if record.name == "davfusion.access"]
    assert [(each.method, each.status) for each in logged] == [("GET", 404), ("PUT", 201)]
