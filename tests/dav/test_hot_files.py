"""Files in memory: never stale, never for those who may not read, counted, and bounded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davfusion.accounts.rights import Principal, Right, Rights
from davfusion.cache.index import Index
from davfusion.cache.share import CacheSettings, Share
from davfusion.dav.app import DavFusionApp
from davfusion.dav.hot_files import SMALL, HotFiles
from davfusion.dav.request import Environ
from davfusion.store.memory import MemoryStore
from tests.cache.world import Clock, save
from tests.dav.client import Answer, Client, set_property

MODIFIED = set_property("<m:Win32LastModifiedTime>Thu, 01 Jan 2015 00:00:00 GMT</m:Win32LastModifiedTime>")


@pytest.fixture
def elsewhere(store: MemoryStore, tmp_path: Path, share: Share) -> Iterator[Client]:
    """Another opening of the same share, as another process has it."""
    del share
    other = Share(tmp_path / "state", store)
    yield Client(DavFusionApp({"/": other}))
    other.close()


def said(answer: Answer) -> tuple[object, ...]:
    """What an answer says of a file."""
    return answer.status, answer.body, [answer.headers.get(name) for name in (
        "etag", "last-modified", "content-type", "content-length", "content-security-policy")]


CHANGES: dict[str, Callable[[Client], Answer]] = {
    "content": lambda client: client.put("/f.txt", b"other"),
    "the same content again": lambda client: client.put("/f.txt", b"text"),
    "the same content of another type": lambda client: client.put("/f.txt", b"text", Content_Type="text/html"),
    "time": lambda client: client.proppatch("/f.txt", MODIFIED),
    "deleted": lambda client: client.delete("/f.txt"),
    "deleted and made again": lambda client: [client.delete("/f.txt"), client.put("/f.txt", b"text")][1],
    "moved away": lambda client: client.move("/f.txt", "/g.html"),
    "replaced by a copy": lambda client: client.copy("/other.txt", "/f.txt"),
    "replaced by a rename": lambda client: client.move("/other.txt", "/f.txt"),
    "replaced by a folder": lambda client: [client.delete("/f.txt"), client.mkcol("/f.txt")][1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_another_process_is_missed(
        client: Client, elsewhere: Client, share: Share, change: str) -> None:
    client.put("/f.txt", b"text")
    client.put("/other.txt", b"more text")
    for each in (client, elsewhere) * 2:
        assert each.get("/f.txt").body == b"text"
    assert CHANGES[change](elsewhere).status in (201, 204, 207)
    for path in ("/f.txt", "/g.html", "/other.txt"):
        # an application that has nothing in memory says how it is
        true = said(Client(DavFusionApp({"/": share})).get(path))
        for each in (client, elsewhere):
            assert said(each.get(path)) == true
            head = each.request("HEAD", path)
            assert (head.status, said(head)[2]) == (true[0], true[2])


def test_names_of_one_content_are_told_apart(client: Client) -> None:
    client.put("/f.txt", b"<p>")
    client.copy("/f.txt", "/f.html")
    for _ in range(3):
        text, page = client.get("/f.txt"), client.get("/f.html")
        assert text.body == page.body == b"<p>"
        assert text.headers["content-type"] == "text/plain" and "content-security-policy" not in text.headers
        assert page.headers["content-type"] == "text/html" and "sandbox" in page.headers["content-security-policy"]


@pytest.mark.parametrize("size", [0, 1, 4096, SMALL])
def test_for_a_file_in_memory_the_index_is_not_asked(client: Client, share: Share, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    client.put("/f", body)
    assert client.get("/f").body == client.get("/f").body == body
    statements: list[str] = []
    connection = share.index.view().nodes._connection
    connection.set_trace_callback(statements.append)
    assert client.get("/f").body == body
    assert client.get("/f", Range="bytes=0-2").body == body[:3]
    assert client.request("HEAD", "/f").headers["content-length"] == str(size)
    connection.set_trace_callback(None)
    assert statements == []


def test_a_large_file_is_not_kept(client: Client, share: Share) -> None:
    files = HotFiles(share)
    client.put("/f", b"x" * (SMALL + 1))
    node = share.find("/f")
    assert node is not None and files.about(node).body is None and files.size < 10_000
    assert client.get("/f").body == client.get("/f").body == b"x" * (SMALL + 1)


def test_parts_of_a_file_in_memory(client: Client) -> None:
    body = bytes(range(256)) * 4
    client.put("/f", body)
    for _ in range(2):
        part = client.get("/f", Range="bytes=10-19")
        assert (part.status, part.body, part.headers["content-range"]) == (206, body[10:20], "bytes 10-19/1024")
        several = client.get("/f", Range="bytes=0-1,-2")
        assert several.status == 206 and body[:2] in several.body and several.body.count(b"Content-Range") == 2
        assert client.get("/f", Range="bytes=1024-").status == 416
        assert client.get("/f", If_None_Match=part.headers["etag"]).status == 304
        assert client.get("/f", If_Match='"other"').status == 412
        assert client.get("/f", Range="bytes=0-1", If_Range='"other"').body == body


def test_who_may_not_read_gets_nothing_from_memory(tmp_path: Path) -> None:
    def authenticate(environ: Environ) -> Principal:
        allowed = environ.get("HTTP_X_USER") == "reader"
        return Principal("x", Rights(Right.READ if allowed else Right.NONE))

    share = Share(tmp_path, MemoryStore())
    save(share, "/f", b"secret")
    app = DavFusionApp({"/": share}, authenticate=authenticate)
    for _ in range(3):
        assert Client(app, user="reader").get("/f").body == b"secret"
        for method in ("GET", "HEAD", "PROPFIND"):
            refused = Client(app, user="stranger").request(method, "/f")
            assert refused.status == 403 and b"secret" not in refused.body and "etag" not in refused.headers
    share.close()


def test_what_is_read_from_memory_is_counted_and_noted_as_used(tmp_path: Path) -> None:
    clock = Clock()
    share = Share(tmp_path, MemoryStore(), index=Index(tmp_path / "index.db", clock=clock), settings=CacheSettings())
    client = Client(DavFusionApp({"/": share}))
    node = save(share, "/f", b"x" * 1000)
    for number in range(1, 8):
        clock.advance(61)
        assert client.get("/f").status == 200
        share.accesses.flush()
        content = share.index.view().contents.get(node.content or 0)
        assert content is not None and content.used == clock.now
        assert share.index.view().operations.counters()["cache_hits"] == number
    share.close()


def test_memory_is_bounded(share: Share) -> None:
    files = HotFiles(share, limit=100_000)
    nodes = [save(share, f"/{number}", bytes([number]) * 10_000) for number in range(20)]
    for node in nodes * 2:
        assert files.body(files.about(node)) == bytes([int(node.name)]) * 10_000
        assert files.size <= 100_000
    assert files.size > 80_000


def test_what_is_in_memory_is_served_though_the_cache_was_emptied(client: Client, share: Share, tmp_path: Path) -> None:
    client.put("/f", b"x" * 60_000)
    assert client.get("/f").status == 200
    shutil.rmtree(tmp_path / "state" / "contents")
    assert client.get("/f").body == b"x" * 60_000
