"""Rendered folders: kept while nothing changes, never stale, whoever changes something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp
from davfusion.store.memory import MemoryStore
from tests.dav.client import Client

NAMED = (b'<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><D:getcontentlength/><D:displayname/>'
         b'<x:colour xmlns:x="urn:x"/></D:prop></D:propfind>')
COLOUR = (b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x:colour xmlns:x="urn:x">red</x:colour></D:prop></D:set>'
          b"</D:propertyupdate>")
LOCK = (b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>'
        b"</D:lockinfo>")


@pytest.fixture
def elsewhere(store: MemoryStore, tmp_path: Path, share: Share) -> Iterator[Client]:
    """Another opening of the same share, as another process has it."""
    del share
    other = Share(tmp_path / "state", store)
    yield Client(DavFusionApp({"/": other}))
    other.close()


def listing(client: Client, folder: str = "/d/", body: bytes = b"", **headers: str) -> bytes:
    answer = client.request("PROPFIND", folder, body, {"Depth": "1", **headers})
    assert answer.status == 207
    return answer.body


CHANGES: dict[str, Callable[[Client], int]] = {
    "new file": lambda client: client.request("PUT", "/d/new", b"x").status,
    "other content": lambda client: client.request("PUT", "/d/f", b"other").status,
    "deleted": lambda client: client.request("DELETE", "/d/f").status,
    "property of a file": lambda client: client.request("PROPPATCH", "/d/f", COLOUR).status,
    "property of the folder": lambda client: client.request("PROPPATCH", "/d/", COLOUR).status,
    "moved in": lambda client: client.request("MOVE", "/g", headers={"Destination": "http://box/d/g"}).status,
    "moved out": lambda client: client.request("MOVE", "/d/f", headers={"Destination": "http://box/f"}).status,
    "folder renamed and back": lambda client: max(
        client.request("MOVE", "/d/", headers={"Destination": "http://box/e/"}).status,
        client.request("MOVE", "/g", headers={"Destination": "http://box/e/g"}).status,
        client.request("MOVE", "/e/", headers={"Destination": "http://box/d/"}).status),
    "locked": lambda client: client.request("LOCK", "/d/f", LOCK).status,
}


@pytest.mark.parametrize("body", [b"", NAMED], ids=["allprop", "named"])
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_another_process_is_missed(
        client: Client, elsewhere: Client, share: Share, change: str, body: bytes) -> None:
    client.request("MKCOL", "/d/")
    client.request("PUT", "/d/f", b"x")
    client.request("PUT", "/g", b"y")
    before = listing(client, body=body)
    assert listing(client, body=body) == before
    assert listing(elsewhere, body=body) == before
    assert CHANGES[change](elsewhere) in (201, 204, 207, 200)
    after = listing(Client(DavFusionApp({"/": share})), body=body)
    assert after != before or (change == "locked" and body == NAMED)
    for each in (client, elsewhere):
        assert listing(each, body=body) == after


def test_no_change_is_missed_by_any_thread(client: Client) -> None:
    """Each thread sees commits by its own connection."""
    client.request("MKCOL", "/d/")
    with ThreadPoolExecutor(8) as threads:
        for number in range(40):
            assert client.request("PUT", f"/d/{number:02}", b"x").status == 201
            for body in threads.map(lambda _: listing(client), range(8)):
                assert body.count(b"<D:response>") == number + 2


def test_what_did_not_change_is_not_rendered_again(client: Client, app: DavFusionApp) -> None:
    client.request("MKCOL", "/d/")
    client.request("PUT", "/d/f", b"x")

    def answer(**environ: str) -> bytes:
        (body,) = app(client.environ("PROPFIND", "/d/", b"", {"Depth": "1"}) | environ, lambda *_: None)
        return bytes(body) if not isinstance(body, bytes) else body

    first = answer()
    assert answer() is first
    assert answer(SCRIPT_NAME="/below") is not first
    assert b"<D:href>/below/d/f</D:href>" in answer(SCRIPT_NAME="/below")
    assert b"404" not in answer(HTTP_PREFER="return=minimal")
    assert b"supportedlock" not in answer(HTTP_USER_AGENT="Microsoft-WebDAV-MiniRedir/10.0")
    assert answer() is first


def test_a_large_folder_is_kept_when_it_was_sent_whole(client: Client, share: Share, app: DavFusionApp) -> None:
    client.request("MKCOL", "/d/")
    for number in range(2100):
        share.make_folder(f"/d/{number:04}")
    environ = client.environ("PROPFIND", "/d/", NAMED, {"Depth": "1"})

    def pieces() -> Iterator[bytes]:
        environ["wsgi.input"].seek(0)
        return iter(app(environ, lambda *_: None))

    broken_off = pieces()
    next(broken_off)
    broken_off.close()  # type: ignore[attr-defined]
    whole = list(pieces())
    assert len(whole) > 3
    kept = list(pieces())
    assert kept == [b"".join(whole)]
    assert kept[0].count(b"<D:response>") == 2101


