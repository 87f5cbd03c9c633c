"""LOCK, UNLOCK, and what locks and the If header mean to all other methods."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp
from davfusion.store.memory import MemoryStore
from tests.dav.client import EXCLUSIVE, SHARED, Answer, Client, D, set_property

NO_LOCK = "(Not <DAV:no-lock>)"


@pytest.fixture(autouse=True)
def a_tree(client: Client) -> None:
    client.mkcol("/dir")
    client.mkcol("/dir/sub")
    client.put("/dir/sub/f", b"deep")
    client.put("/f", b"flat")


@pytest.fixture
def other(app: DavFusionApp) -> Client:
    return Client(app, user="other")


def conflicting(answer: Answer, element: str) -> list[str]:
    return [each.text or "" for each in answer.xml.iterfind(f"{D}{element}/{D}href")]


def tokens(client: Client, url: str) -> list[str]:
    found = client.find(url, D + "lockdiscovery").properties()[D + "lockdiscovery", 200]
    return [each.text or "" for each in found.iterfind(f"{D}activelock/{D}locktoken/{D}href")]


def test_lock_tells_everything(client: Client) -> None:
    answer = client.lock("/dir", owner="<D:href>mailto:me</D:href>", Timeout="Second-120")
    assert answer.status == 200 and answer.headers["content-type"] == "application/xml; charset=utf-8"
    active = answer.xml.find(f"{D}lockdiscovery/{D}activelock")
    assert active is not None
    assert active.find(f"{D}lockscope/{D}exclusive") is not None
    assert active.find(f"{D}locktype/{D}write") is not None
    assert active.findtext(f"{D}depth") == "infinity"
    assert active.findtext(f"{D}owner/{D}href") == "mailto:me"
    assert active.findtext(f"{D}timeout") in ("Second-119", "Second-120")
    assert active.findtext(f"{D}locktoken/{D}href") == answer.token
    assert active.findtext(f"{D}lockroot/{D}href") == "/dir/"


def test_members_show_the_lock_that_covers_them(client: Client) -> None:
    token = client.lock("/dir").token
    assert tokens(client, "/dir/sub/f") == tokens(client, "/dir/sub") == [token]
    listing = client.find("/", D + "lockdiscovery", depth="infinity")
    for href, locked in (("/", 0), ("/dir/", 1), ("/dir/sub/", 1), ("/dir/sub/f", 1), ("/f", 0)):
        assert len(listing.properties(href)[D + "lockdiscovery", 200]) == locked


def test_a_lock_of_depth_0_covers_no_members(client: Client) -> None:
    token = client.lock("/dir", depth="0").token
    assert tokens(client, "/dir") == [token] and tokens(client, "/dir/sub") == []
    assert client.put("/dir/sub/f", b"x").status == 204


def test_a_listing_tells_locks_of_depth_0_apart(client: Client) -> None:
    client.lock("/dir/sub", depth="0")
    listing = client.find("/", D + "lockdiscovery", depth="infinity")
    for href, locked in (("/dir/", 0), ("/dir/sub/", 1), ("/dir/sub/f", 0)):
        assert len(listing.properties(href)[D + "lockdiscovery", 200]) == locked


def test_locked_files_need_the_token(client: Client) -> None:
    token = client.lock("/f").token
    for answer in (client.put("/f", b"x"), client.delete("/f"), client.move("/f", "/g"), client.copy("/dir", "/f"),
                   client.move("/dir", "/f"), client.proppatch("/f", set_property("<a/>"))):
        assert answer.status == 423 and conflicting(answer, "lock-token-submitted") == ["/f"]
    assert client.copy("/f", "/g").status == 201
    assert client.put("/f", b"y", If_=f"(<{token}>)").status == 204
    assert client.proppatch("/f", set_property("<a/>"), If_=f"(<{token}>)").status == 207
    assert client.delete("/f", If_=f"(<{token}>)").status == 204
    assert client.put("/f", b"again").status == 201


def test_the_token_of_another_person_is_no_key(client: Client, other: Client) -> None:
    token = client.lock("/f").token
    assert other.put("/f", b"x", If_=f"(<{token}>)").status == 423
    assert other.unlock("/f", token).status == 403
    assert other.refresh("/f", token).status == 412
    assert client.get("/f").body == b"flat"


def test_locks_inside_stop_what_happens_to_the_tree(client: Client, other: Client) -> None:
    token = other.lock("/dir/sub/f").token
    for answer in (client.delete("/dir"), client.move("/dir", "/new"), client.copy("/f", "/dir"),
                   client.move("/f", "/dir")):
        assert answer.status == 423 and conflicting(answer, "lock-token-submitted") == ["/dir/sub/f"]
    assert client.get("/dir/sub/f").body == b"deep"
    assert client.copy("/dir", "/copy").status == 201
    assert other.delete("/dir", If_=f"</dir/sub/f> (<{token}>)").status == 204


def test_a_lock_on_a_folder_protects_its_membership(client: Client) -> None:
    token = client.lock("/dir", depth="0").token
    for answer in (client.put("/dir/new", b""), client.mkcol("/dir/new"), client.delete("/dir/sub"),
                   client.move("/dir/sub", "/sub"), client.move("/f", "/dir/f"), client.copy("/f", "/dir/f"),
                   client.lock("/dir/new")):
        assert answer.status == 423 and conflicting(answer, "lock-token-submitted") == ["/dir/"]
    assert client.put("/dir/new", b"", If_=f"</dir/> (<{token}>)").status == 201
    assert client.put("/dir/new2", b"", If_=f"<http://box/dir> (<{token}>)").status == 201
    assert client.put("/dir/new3", b"", If_=f"(<{token}>) {NO_LOCK}").status == 201


def test_a_moved_or_copied_resource_is_not_locked(client: Client) -> None:
    token = client.lock("/f").token
    assert client.copy("/f", "/copy").status == 201
    assert client.move("/f", "/moved", If_=f"(<{token}>)").status == 201
    assert tokens(client, "/copy") == tokens(client, "/moved") == []
    assert client.put("/f", b"new").status == 201


def test_locking_what_is_not_there_makes_an_empty_file(client: Client) -> None:
    answer = client.lock("/new")
    assert answer.status == 201 and client.get("/new").body == b""
    assert client.put("/new", b"x").status == 423
    assert client.put("/new", b"x", If_=f"(<{answer.token}>)").status == 204


@pytest.mark.parametrize(("url", "status"), [("/missing/new", 409), ("/f/new", 409), ("/new/", 409)])
def test_locks_that_cannot_make_a_file(client: Client, url: str, status: int) -> None:
    assert client.lock(url).status == status
    assert client.get("/new").status == 404


def test_no_file_appears_where_the_lock_is_refused(client: Client, other: Client) -> None:
    other.lock("/dir")
    assert client.lock("/dir/new").status == 423
    assert client.get("/dir/new").status == 404


@pytest.mark.parametrize(("first", "second", "status"), [
    (EXCLUSIVE, EXCLUSIVE, 423), (EXCLUSIVE, SHARED, 423), (SHARED, EXCLUSIVE, 423), (SHARED, SHARED, 200)])
def test_scopes(client: Client, other: Client, first: str, second: str, status: int) -> None:
    client.lock("/f", first)
    answer = other.lock("/f", second)
    assert answer.status == status
    if status == 423:
        assert conflicting(answer, "no-conflicting-lock") == ["/f"]


def test_any_shared_lock_of_ones_own_is_enough(client: Client, other: Client) -> None:
    mine, theirs = client.lock("/f", SHARED).token, other.lock("/f", SHARED).token
    assert client.put("/f", b"x").status == 423
    assert client.put("/f", b"x", If_=f"(<{theirs}>)").status == 423
    assert client.put("/f", b"x", If_=f"(<{mine}>)").status == 204


def test_an_infinite_lock_names_the_member_in_its_way(client: Client, other: Client) -> None:
    other.lock("/dir/sub/f")
    answer = client.lock("/dir")
    statuses = {each.findtext(f"{D}href"): each.findtext(f"{D}status") for each in answer.xml}
    assert answer.status == 207 and "lock-token" not in answer.headers
    assert statuses == {"/dir/sub/f": "HTTP/1.1 423 Locked", "/dir/": "HTTP/1.1 424 Failed Dependency"}
    assert client.lock("/dir", depth="0").status == 200


def test_refresh(client: Client) -> None:
    token = client.lock("/dir", Timeout="Second-5").token
    answer = client.refresh("/dir/sub/f", token, Timeout="Second-500")
    assert answer.status == 200 and "lock-token" not in answer.headers
    assert answer.xml.findtext(f".//{D}timeout") in ("Second-499", "Second-500")


def test_refreshes_that_are_refused(client: Client) -> None:
    token = client.lock("/f").token
    assert client.request("LOCK", "/f").status == 400
    assert client.request("LOCK", "/f", headers={"If": f"(<{token}>) (<other:x>)"}).status == 400
    assert client.refresh("/dir", token).status == 412
    assert client.refresh("/f", "opaquelocktoken:none").status == 412
    assert client.refresh("/missing", token).status == 404


def test_unlock(client: Client) -> None:
    token = client.lock("/dir").token
    assert client.unlock("/dir/sub/f", token).status == 204
    assert client.unlock("/dir", token).status == 409
    assert client.put("/dir/sub/f", b"x").status == 204


def test_unlocks_that_are_refused(client: Client) -> None:
    token = client.lock("/f").token
    answer = client.unlock("/dir", token)
    assert answer.status == 409 and answer.xml.find(D + "lock-token-matches-request-uri") is not None
    assert client.request("UNLOCK", "/f").status == 400
    assert client.unlock("/missing", token).status == 404
    assert client.put("/f", b"x").status == 423


@pytest.mark.parametrize(("body", "headers", "status"), [
    (b"<lockinfo/>", {}, 400), (b"<", {}, 400),
    (b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>',
     {"Depth": "1"}, 400),
    (b"<!DOCTYPE a><a/>", {}, 400),
])
def test_lock_requests_that_are_refused(client: Client, body: bytes, headers: dict[str, str], status: int) -> None:
    assert client.request("LOCK", "/f", body, headers).status == status
    assert tokens(client, "/f") == []


def test_locks_expire(client: Client, share: Share) -> None:
    client.lock("/dir/sub/f")
    share.index.write(lambda view: view.locks.extend_live(share.locks_on("/dir/sub/f")[0].token, -1.0, view.now()))
    assert client.delete("/dir").status == 204


def test_locks_and_properties_survive_a_restart(share: Share, client: Client) -> None:
    token = client.lock("/f").token
    client.proppatch("/f", set_property("<z:a>1</z:a>"), If_=f"(<{token}>)")
    state = share.files.directory.parent
    again = Share(state, share.store)
    reopened = Client(DavFusionApp({"/": again}))
    assert tokens(reopened, "/f") == [token] and reopened.put("/f", b"").status == 423
    assert reopened.find("/f", "{urn:z}a").value("{urn:z}a") == "1"
    again.close()


def test_if_with_entity_tags_and_tokens(client: Client) -> None:
    etag = client.get("/f").headers["etag"]
    token = client.lock("/f").token
    assert client.put("/f", b"1", If_=f'(<{token}> ["other"])').status == 412
    assert client.put("/f", b"1", If_=f"(<{token}> [{etag}])").status == 204
    assert client.put("/f", b"2", If_=f"(<{token}> [{etag}])").status == 412
    assert client.put("/f", b"2", If_=f"(<{token}> [{etag}]) (<{token}> Not [{etag}])").status == 204
    assert client.put("/f", b"3", If_=f"({'<DAV:no-lock>'}) (<{token}>)").status == 204
    assert client.put("/f", b"4", If_="(<DAV:no-lock>)").status == 412
    assert client.put("/f", b"4", If_="(Not <DAV:no-lock>)").status == 423


@pytest.mark.parametrize("tag", ["/f", "http://box/f", "http://BOX:80/f", "/%66"])
def test_if_tags_name_resources(client: Client, tag: str) -> None:
    token = client.lock("/f").token
    assert client.copy("/dir/sub/f", "/f", If_=f"<{tag}> (<{token}>)").status == 204


@pytest.mark.parametrize("tag", ["/dir", "/missing", "http://elsewhere/f", "/%ff"])
def test_if_tags_that_name_others(client: Client, tag: str) -> None:
    token = client.lock("/f").token
    assert client.put("/f", b"", If_=f"<{tag}> (<{token}>)").status == 412


def test_conditions_on_what_is_not_there(client: Client) -> None:
    assert client.put("/new", b"", If_Match="*").status == 412
    assert client.put("/new", b"", If_=f'(["{"x"}"])').status == 412
    assert client.mkcol("/new", If_='(["x"])').status == 412
    assert client.lock("/new", If_='(["x"])').status == 412
    assert client.get("/new").status == 404
    assert client.put("/new", b"", If_None_Match="*").status == 201
    assert client.put("/new", b"", If_None_Match="*").status == 412


def test_a_condition_holds_for_the_named_destination(client: Client) -> None:
    etag = client.get("/dir/sub/f").headers["etag"]
    assert client.move("/f", "/dir/sub/f", If_='</dir/sub/f> (["other"])').status == 412
    assert client.move("/f", "/dir/sub/f", If_=f"</dir/sub/f> ([{etag}])").status == 204


def at_once(count: int, act: Callable[[int], int]) -> list[int]:
    """The statuses of `count` requests that begin together, in order of size."""
    barrier = threading.Barrier(count)

    def run(number: int) -> int:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(run, range(count)))


def test_of_many_creators_one_wins(client: Client) -> None:
    statuses = at_once(8, lambda number: client.put("/new", str(number).encode(), If_None_Match="*").status)
    assert statuses == [201] + [412] * 7


def test_of_many_savers_one_wins(client: Client) -> None:
    etag = client.get("/f").headers["etag"]
    statuses = at_once(8, lambda number: client.put("/f", str(number).encode(), If_Match=etag).status)
    assert statuses == [204] + [412] * 7


def test_of_many_lockers_one_wins(app: DavFusionApp) -> None:
    statuses = at_once(8, lambda number: Client(app, user=f"u{number}").lock("/new").status)
    assert statuses == [201] + [423] * 7


def test_the_conditions_of_a_lock_are_those_of_its_moment(client: Client) -> None:
    statuses = at_once(8, lambda number: client.lock("/new", SHARED, If_None_Match="*").status)
    assert statuses == [201] + [412] * 7


class Overtaken(Share):
    """A share in which somebody locks `/new` just after it was not found for the so-manieth time."""

    left = 0
    overtake: Callable[[], object] | None = None

    def find(self, path: str) -> Node | None:
        found = super().find(path)
        if path == "/new" and found is None and self.overtake is not None:
            self.left -= 1
            if self.left < 0:
                overtake, self.overtake = self.overtake, None
                overtake()
        return found


@pytest.mark.parametrize("looks", range(4))
def test_whoever_is_overtaken_hears_that_the_condition_fails(tmp_path: Path, looks: int) -> None:
    share = Overtaken(tmp_path, MemoryStore())
    client = Client(DavFusionApp({"/": share}))
    share.left, share.overtake = looks, lambda: client.lock("/new", SHARED)
    status = client.lock("/new", SHARED, If_None_Match="*").status
    assert status == (412 if share.overtake is None else 201)
    share.close()


def test_of_many_movers_one_wins(client: Client) -> None:
    statuses = at_once(4, lambda number: client.move("/f", f"/moved{number}").status)
    assert statuses[0] == 201 and set(statuses[1:]) == {404}
    assert sum(client.get(f"/moved{number}").status == 200 for number in range(4)) == 1
