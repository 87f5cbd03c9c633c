"""Rendered folders: kept while nothing changes, never stale, whoever changes something."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.index import Index
from davfusion.cache.listing import Freshness
from davfusion.cache.share import CacheSettings, Share
from davfusion.dav.app import DavFusionApp
from davfusion.dav.rendered import Rendered
from davfusion.store.errors import TemporaryError
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.memory import MemoryStore
from tests.cache.world import Clock, store_bytes
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


@pytest.mark.parametrize("depth", ["0", "1"])
def test_what_changes_elsewhere_renders_nothing_again(client: Client, share: Share, app: DavFusionApp, depth: str
                                                      ) -> None:
    client.mkcol("/d")
    client.put("/d/f", b"x")
    client.proppatch("/d/f", "<D:set><D:prop><z:a>1</z:a></D:prop></D:set>")

    def answer() -> object:
        (body,) = app(client.environ("PROPFIND", "/d/", b"", {"Depth": depth}), lambda *_: None)
        return body

    first = answer()
    for number in range(3):
        client.put("/elsewhere", b"%d" % number)
        assert answer() is first
    client.proppatch("/d/f" if depth == "1" else "/d/", "<D:set><D:prop><z:a>2</z:a></D:prop></D:set>")
    assert answer() != first


def test_a_lock_that_came_and_went_leaves_no_trace(client: Client, share: Share) -> None:
    client.mkcol("/d")
    client.put("/d/f", b"x")
    before = listing(client)
    for _ in range(3):
        token = client.lock("/d/f").headers["lock-token"].strip("<>")
        assert listing(client).count(b"opaquelocktoken") == 1
        assert client.unlock("/d/f", token).status == 204
        assert listing(client) == before


def test_a_file_is_never_listed(store: MemoryStore, tmp_path: Path) -> None:
    asked: list[str] = []

    def plan(call: Call) -> None:
        if call.verb == "list_pages":
            asked.append(call.path)

    share = Share(tmp_path, FaultyStore(store, plan))
    client = Client(DavFusionApp({"/": share}))
    store_bytes(store, "/f", b"x")
    for depth in ("0", "1", "infinity"):
        assert client.propfind("/f", depth=depth).hrefs() == ["/f"]
    assert asked == ["/"]
    share.close()


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


@pytest.mark.parametrize("depth", ["0", "1"])
def test_for_an_answer_at_hand_the_index_is_not_asked(
        client: Client, share: Share, depth: str) -> None:
    client.request("MKCOL", "/d/")
    client.request("PUT", "/d/f", b"x")
    for path in ("/d/", "/d/f"):
        first = client.propfind(path, depth=depth)
        assert first.status == 207 and client.propfind(path, depth=depth).body == first.body
        statements: list[str] = []
        connection = share.index.view().nodes._connection
        connection.set_trace_callback(statements.append)
        assert client.propfind(path, depth=depth).body == first.body
        connection.set_trace_callback(None)
        assert statements == []


def test_a_folder_that_is_old_is_listed_again(store: MemoryStore, tmp_path: Path) -> None:
    clock = Clock()
    share = Share(tmp_path, store, index=Index(tmp_path / "index.db", clock=clock),
                  settings=CacheSettings(freshness=Freshness(revalidate_after=60)))
    client = Client(DavFusionApp({"/": share}))
    store.create_directory("/d")
    store_bytes(store, "/d/1", b"x")
    first = listing(client)
    assert first.count(b"<D:response>") == 2
    store_bytes(store, "/d/2", b"x")
    clock.advance(59)
    assert listing(client) == first
    clock.advance(2)
    assert listing(client).count(b"<D:response>") == 3
    store_bytes(store, "/d/3", b"x")
    clock.advance(-30)
    assert listing(client).count(b"<D:response>") == 4
    clock.advance(59)
    assert listing(client).count(b"<D:response>") == 4
    share.close()


def test_while_the_store_is_away_the_older_answer_stays_at_hand(store: MemoryStore, tmp_path: Path) -> None:
    clock = Clock()
    faulty = FaultyStore(store, outage := Outage())
    share = Share(tmp_path, faulty, index=Index(tmp_path / "index.db", clock=clock))
    app = DavFusionApp({"/": share})
    client = Client(app)
    store.create_directory("/d")
    store_bytes(store, "/d/1", b"x")
    first = listing(client)
    outage.now = True
    clock.advance(3600)
    for _ in range(3):
        assert listing(client) == first
    outage.now = False
    store_bytes(store, "/d/2", b"x")
    clock.advance(3600)
    assert listing(client).count(b"<D:response>") == 3
    share.close()


class Outage:
    """A plan of faults: all or none."""

    now = False

    def __call__(self, call: Call) -> Fault | None:
        return Fault(before=TemporaryError("The store is away")) if self.now else None


def test_answers_are_bounded(share: Share) -> None:
    rendered = Rendered(share, limit=8000)
    for number in range(20):
        rendered.slot(number, math.inf).keep(b"x" * 500)
    assert [number for number in range(20) if rendered.fresh(number)] == list(range(13, 20))
    rendered.slot("large", math.inf).keep(b"x" * 2000)
    assert rendered.fresh("large") is None
    slot = rendered.slot("old", -math.inf)
    slot.keep(b"x")
    assert rendered.slot("old", -math.inf).still_true() == b"x" and rendered.fresh("old") is None
    share.make_folder("/changed")
    assert rendered.fresh(19) is None and rendered.slot(19, math.inf).still_true() is None
