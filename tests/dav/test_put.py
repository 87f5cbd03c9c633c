"""PUT: a whole new content or nothing."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from davfusion.cache.listing import Freshness
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.dav.app import DavFusionApp
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from tests.dav.client import AtHand, Client, set_property


@pytest.fixture(params=[AtHand, io.BytesIO], ids=["at-hand", "on-its-way"])
def client(app: DavFusionApp, request: pytest.FixtureRequest) -> Client:
    return Client(app, body=request.param)


def names(client: Client, url: str = "/") -> list[str]:
    return client.find(url, "{DAV:}getetag", depth="1").hrefs()[1:]


def test_new_and_replaced(client: Client) -> None:
    first = client.put("/f", b"one")
    second = client.put("/f", b"two")
    assert (first.status, second.status) == (201, 204)
    assert first.headers["etag"] != second.headers["etag"] == client.get("/f").headers["etag"]
    assert second.headers["oc-etag"] == second.headers["etag"]
    assert client.get("/f").body == b"two"


def test_the_same_bytes_in_pieces_of_any_size(client: Client) -> None:
    content = bytes(range(256)) * 12_289
    assert client.put("/f", content).status == 201
    assert client.get("/f").body == content
    chunked = client.request("PUT", "/g", headers={"Transfer-Encoding": "chunked"},
                             **{"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": ""})
    assert chunked.status == 201 and client.get("/g").body == content


class Cut(io.BytesIO):
    """Fails when all is read, as a server's body reader does when the connection breaks."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise ConnectionResetError("gone")
        return data

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        if not count:
            raise ConnectionResetError("gone")
        return count


BROKEN = [
    {"CONTENT_LENGTH": "1000", "wsgi.input": io.BytesIO(b"x" * 999)},
    {"CONTENT_LENGTH": "1", "wsgi.input": io.BytesIO()},
    {"CONTENT_LENGTH": "1000", "wsgi.input": Cut(b"x" * 10)},
    {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": Cut(b"x" * 10)},
    {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "HTTP_X_EXPECTED_ENTITY_LENGTH": "11",
     "wsgi.input": io.BytesIO(b"x" * 10)},
    {"CONTENT_LENGTH": "-1", "wsgi.input": io.BytesIO(b"x")},
    {"CONTENT_LENGTH": "1_0", "wsgi.input": io.BytesIO(b"x" * 10)},
]


@pytest.mark.parametrize("environ", BROKEN)
def test_a_broken_body_changes_nothing(client: Client, tmp_path: Path, environ: dict[str, Any]) -> None:
    etag = client.put("/old", b"old").headers["etag"]
    for url in ("/old", "/new"):
        environ["wsgi.input"].seek(0)
        answer = client.request("PUT", url, **environ)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert client.get("/old").body == b"old" and client.get("/old").headers["etag"] == etag
    assert client.get("/new").status == 404 and names(client) == ["/old"]
    assert not list((tmp_path / "state" / "incoming").iterdir())


@pytest.mark.parametrize(("url", "headers", "status"), [
    ("/dir", {}, 405),
    ("/dir/", {}, 405),
    ("/f/", {}, 409),
    ("/new/", {}, 409),
    ("/missing/f", {}, 409),
    ("/f/below", {}, 409),
    ("/", {}, 405),
    ("/f", {"Content-Range": "bytes 0-0/3"}, 400),
    ("/f", {"Content-Encoding": "gzip"}, 415),
    ("/f", {"X-OC-Mtime": "yesterday"}, 400),
    ("/f", {"X-OC-Mtime": "nan"}, 400),
    ("/f", {"X-Expected-Entity-Length": "many"}, 400),
    ("/f", {"X-Expected-Entity-Length": "2"}, 400),
    ("/f", {"If-Match": '"other"'}, 412),
    ("/f", {"If-None-Match": "*"}, 412),
    ("/new", {"If-Match": "*"}, 412),
    ("/new", {"If": '(["other"])'}, 412),
    ("/new", {"If": "no list"}, 400),
    ("/f", {"OC-Checksum": "MD5:00"}, 400),
    ("/f", {"Content-MD5": "AAAA"}, 400),
])
def test_refusals_change_nothing(client: Client, url: str, headers: dict[str, str], status: int) -> None:
    client.mkcol("/dir")
    client.put("/f", b"old")
    assert client.request("PUT", url, b"new", headers).status == status
    assert client.get("/f").body == b"old"
    assert names(client) == ["/dir/", "/f"]


class Untouchable:
    """A body that nobody may read."""

    def read(self, *size: int) -> bytes:
        raise AssertionError("the body was read")

    readinto = readline = read


@pytest.mark.parametrize(("url", "headers", "status"), [
    ("/dir", {}, 405), ("/missing/f", {}, 409), ("/f", {"If-None-Match": "*"}, 412), ("/f", {}, 423),
    ("/new", {"OC-Total-Length": str(10**18)}, 507), ("/new", {"Content-Length": str(10**18)}, 507),
    ("/new", {"X-Expected-Entity-Length": str(10**18), "Transfer-Encoding": "chunked"}, 507),
])
def test_refusals_come_before_the_body(client: Client, url: str, headers: dict[str, str], status: int) -> None:
    client.mkcol("/dir")
    client.put("/f", b"old")
    client.lock("/f")
    answer = client.request("PUT", url, headers={"Content-Length": "3", **headers}, **{"wsgi.input": Untouchable()})
    assert answer.status == status


def test_a_full_cache_refuses_before_the_body(tmp_path: Path) -> None:
    share = Share(tmp_path / "small", MemoryStore(), settings=CacheSettings(limits=SpaceLimits(cache_size=10**6)))
    client = Client(DavFusionApp({"/": share}))
    answer = client.request("PUT", "/f", headers={"Content-Length": str(2 * 10**6)}, **{"wsgi.input": Untouchable()})
    assert answer.status == 507
    share.close()


def test_a_lock_that_comes_during_the_body_counts(client: Client) -> None:
    client.put("/f", b"old")

    class Locking(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            client.lock("/f")
            return super().readinto(buffer)

    answer = client.request("PUT", "/f", **{"CONTENT_LENGTH": "3", "wsgi.input": Locking(b"new")})
    assert answer.status == 423 and client.get("/f").body == b"old"


def test_a_change_that_comes_during_the_body_counts(client: Client) -> None:
    etag = client.put("/f", b"old").headers["etag"]

    class Changing(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            client.put("/f", b"in between")
            return super().readinto(buffer)

    answer = client.request("PUT", "/f", headers={"If-Match": etag},
                            **{"CONTENT_LENGTH": "3", "wsgi.input": Changing(b"new")})
    assert answer.status == 412 and client.get("/f").body == b"in between"


def test_modification_time_is_kept(client: Client) -> None:
    answer = client.put("/f", b"x", X_OC_Mtime="1700000000.5")
    assert answer.headers["x-oc-mtime"] == "accepted"
    assert client.get("/f").headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert client.put("/f", b"y").headers["last-modified"] != "Tue, 14 Nov 2023 22:13:20 GMT"


def test_checksums_are_verified(client: Client) -> None:
    digest = base64.b64encode(hashlib.md5(b"abc").digest()).decode()
    sha1 = f"SHA1:{hashlib.sha1(b'abc').hexdigest()}"
    assert client.put("/f", b"abc", Content_MD5=digest, OC_Checksum=sha1).status == 201
    assert client.put("/f", b"abd", Content_MD5=digest).status == 400
    assert client.get("/f").body == b"abc"


def test_the_expected_length_of_a_chunked_body(client: Client) -> None:
    answer = client.request(
        "PUT", "/f", headers={"Transfer-Encoding": "chunked", "X-Expected-Entity-Length": "3"},
        **{"wsgi.input": io.BytesIO(b"abc"), "CONTENT_LENGTH": ""})
    assert answer.status == 201


def test_properties_survive_a_new_content(client: Client) -> None:
    client.put("/f", b"old")
    client.proppatch("/f", set_property("<z:color>red</z:color>"))
    client.put("/f", b"new")
    assert client.find("/f", "{urn:z}color").value("{urn:z}color") == "red"


def test_a_read_only_share(share: Share) -> None:
    Client(DavFusionApp({"/": share})).put("/f", b"x")
    share.settings = replace(share.settings, read_only=True)
    client = Client(DavFusionApp({"/": share}))
    for answer in (client.put("/f", b"y"), client.put("/g", b"y"), client.delete("/f"), client.mkcol("/d"),
                   client.move("/f", "/g"), client.copy("/f", "/g"), client.lock("/f"), client.unlock("/f", "x"),
                   client.proppatch("/f", set_property("<z:a/>"))):
        assert answer.status == 403
    assert client.get("/f").body == b"x"
    options = client.request("OPTIONS", "/f")
    assert options.headers["dav"] == "1, 3" and options.headers["allow"] == "OPTIONS, GET, HEAD, PROPFIND"


@pytest.mark.parametrize(("url", "before", "within"), [("/folder/f", 3, 5), ("/folder/new", 6, 5)])
def test_a_small_body_costs_few_statements(client: Client, share: Share, url: str, before: int, within: int) -> None:
    """What is asked of the index before the body is read, and in the transaction; new files look twice."""
    client.request("MKCOL", "/folder")
    client.put("/folder/f", b"old")
    client.put("/folder/f", b"older")
    statements: list[str] = []
    connections = [share.index._database.reader(), share.index._database._writer]
    for connection in connections:
        connection.set_trace_callback(statements.append)
    answer = client.put(url, b"data")
    for connection in connections:
        connection.set_trace_callback(None)
    assert answer.status in (201, 204)
    begin, end = statements.index("BEGIN IMMEDIATE"), statements.index("COMMIT")
    assert begin <= before, statements[:begin]
    assert end - begin - 1 <= within, statements[begin:end]


@pytest.mark.parametrize("body", [AtHand, io.BytesIO], ids=["at-hand", "on-its-way"])
def test_what_somebody_else_has_put_meanwhile_is_seen_first(tmp_path: Path, body: type[io.BytesIO]) -> None:
    store = MemoryStore()
    calls: list[str] = []

    def note(call: Call) -> Fault | None:
        calls.append(call.verb)
        return None

    settings = CacheSettings(freshness=Freshness(revalidate_after=0.0))
    share = Share(tmp_path / "state", FaultyStore(store, note), settings=settings)
    client = Client(DavFusionApp({"/": share}), body=body)
    assert client.propfind("/", depth="1").hrefs() == ["/"]
    store.store_fileobject(io.BytesIO(b"theirs"), "/f")
    calls.clear()
    assert client.put("/f", b"ours").status == 204
    assert calls, "the listing was too old to tell"
    share.close()


@pytest.mark.parametrize("body", [AtHand, io.BytesIO], ids=["at-hand", "on-its-way"])
def test_a_body_that_is_no_small_one_is_a_file(tmp_path: Path, body: type[io.BytesIO]) -> None:
    share = Share(tmp_path / "state", MemoryStore(), settings=CacheSettings(small=2))
    client = Client(DavFusionApp({"/": share}), body=body)
    assert [client.put("/f", b"one").status, client.put("/f", b"other").status] == [201, 204]
    assert client.get("/f").body == b"other"
    assert list((tmp_path / "state" / "incoming").iterdir()) == []
    share.close()
