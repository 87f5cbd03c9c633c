"""The provider under WsgiDAV's own application, and the lock storage by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wsgidav.dav_error import DAVError
from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider
from wsgidav.lock_man.lock_manager import LockManager
from wsgidav.wsgidav_app import WsgiDAVApp

from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp, wsgidav_config
from davfusion.dav.lock_storage import ShareLockStorage
from davfusion.store.memory import MemoryStore
from tests.dav.client import Client, D, remove_property, set_property

M = "{urn:schemas-microsoft-com:}"
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture
def stock(share: Share) -> Client:
    return Client(WsgiDAVApp(wsgidav_config({"/": share}, simple_dc={"user_mapping": {"*": True}})))


def test_both_applications_see_the_same_share(stock: Client, client: Client) -> None:
    assert stock.put("/f", b"x").status == 201
    assert client.get("/f").body == b"x"
    assert client.get("/f").headers["etag"] == stock.get("/f").headers["etag"]
    token = client.lock("/f", owner="me").token
    assert stock.put("/f", b"y").status == 423
    assert token in stock.propfind("/f").text
    assert client.unlock("/f", token).status == 204
    theirs = stock.lock("/f", owner="them").token
    assert client.put("/f", b"y").status == 423
    assert "them" in client.propfind("/f").text
    assert stock.unlock("/f", theirs).status == 204


def test_properties(stock: Client, client: Client) -> None:
    stock.put("/f", b"x")
    answer = stock.proppatch("/f", set_property(
        f"<z:a>1</z:a><m:Win32LastModifiedTime>{DATE}</m:Win32LastModifiedTime>"))
    assert {status for _, status in answer.properties()} == {200}
    found = stock.propfind("/f")
    assert found.value("{urn:z}a") == "1" and found.value(D + "getlastmodified") == DATE
    assert found.value(D + "getetag") == client.get("/f").headers["etag"]
    assert client.find("/f", "{urn:z}a").value("{urn:z}a") == "1"
    assert stock.proppatch("/f", set_property("<D:getetag>x</D:getetag>")).properties().keys() == {(D + "getetag", 403)}
    assert stock.proppatch("/f", set_property("<m:Win32CreationTime>x</m:Win32CreationTime>")).properties().keys() == {
        (M + "Win32CreationTime", 409)}
    stock.proppatch("/f", remove_property("<z:a/>"))
    assert client.find("/f", "{urn:z}a").value("{urn:z}a") is None


def test_quota(stock: Client) -> None:
    stock.put("/f", b"12345")
    found = stock.find("/", D + "quota-used-bytes", D + "quota-available-bytes")
    assert found.value(D + "quota-used-bytes") == "5" and int(found.value(D + "quota-available-bytes") or 0) > 0


def test_a_shallow_copy(stock: Client, client: Client) -> None:
    stock.mkcol("/dir")
    stock.put("/dir/f", b"")
    assert stock.copy("/dir", "/copy", Depth="0").status == 201
    assert client.find("/copy", D + "getetag", depth="1").hrefs() == ["/copy/"]
    assert stock.copy("/dir", "/copy").status == 204
    assert client.find("/copy", D + "getetag", depth="1").hrefs() == ["/copy/", "/copy/f"]


def test_tree_methods(stock: Client, client: Client) -> None:
    assert stock.mkcol("/dir").status == 201
    assert stock.mkcol("/dir/sub").status == 201
    assert stock.put("/dir/sub/f", b"1").status == 201
    assert stock.move("/dir/", "/moved/").status == 201
    assert stock.move("/moved/sub/f", "/g").status == 201
    assert stock.copy("/g", "/moved").status == 204
    assert client.get("/moved").body == b"1"
    assert stock.delete("/moved").status == 204
    assert stock.delete("/").status == 403


def test_a_lock_on_nothing_that_is_refused_leaves_nothing(stock: Client, client: Client) -> None:
    client.mkcol("/dir")
    stock.lock("/dir", owner="me")
    assert stock.lock("/dir/new").status == 423
    assert client.get("/dir/new").status == 404


def test_errors_of_the_share_keep_their_status(stock: Client) -> None:
    answer = stock.request("PUT", "/f", b"x" * 10, {"Content-Length": str(10**17)})
    assert answer.status == 507


@pytest.fixture
def two(tmp_path: Path) -> Iterator[dict[str, Share]]:
    shares = {f"/{name}": Share(tmp_path / name, MemoryStore(), name=name) for name in ("a", "B c")}
    yield shares
    for share in shares.values():
        share.close()


def test_lock_storage(two: dict[str, Share]) -> None:
    for share in two.values():
        Client(DavFusionApp({"/": share})).mkcol("/100%25")
    storage = ShareLockStorage(two)
    storage.open()
    manager = LockManager(storage)
    lock = {"scope": "exclusive", "depth": "infinity", "timeout": -1, "principal": "p", "type": "write",
            "owner": b"<?xml version='1.0'?><owner xmlns='DAV:'>me</owner>"}
    made = storage.create("/B%20c/100%25", dict(lock))
    assert made["root"] == "/B%20c/100%25" and made["timeout"] == 3600
    assert two["/B c"].locks_on("/100%")[0].owner == b'<owner xmlns="DAV:">me</owner>'
    assert storage.get(made["token"]) == storage.get_lock_list(
        "/B%20c/100%25", include_root=True, include_children=False, token_only=False)[0]
    assert manager.is_url_locked_by_token("/B%20c/100%25/x", made["token"])
    assert storage.get_lock_list(
        "/B%20c", include_root=False, include_children=True, token_only=True) == [made["token"]]
    assert storage.get_lock_list("/", include_root=True, include_children=False, token_only=True) == []
    with pytest.raises(DAVError) as raised:
        storage.create("/B%20c/100%25", dict(lock))
    assert raised.value.value == 423
    assert storage.refresh(made["token"], timeout=60)["timeout"] == 60
    with pytest.raises(ValueError, match="gone"):
        storage.refresh("opaquelocktoken:none", timeout=60)
    assert storage.delete(made["token"]) and not storage.delete(made["token"])
    assert storage.get(made["token"]) is None
    storage.create("/a/100%25", dict(lock))
    storage.clear()
    assert not two["/a"].has_locks()
    storage.close()


@pytest.mark.parametrize(("kind", "names"), [
    (WsgiDAVApp, ["add_provider"]),
    (DAVProvider, ["get_resource_inst", "is_readonly"]),
    (DAVCollection, ["get_member_names", "get_member_list", "get_descendants", "create_empty_resource",
                     "create_collection", "support_recursive_delete", "support_recursive_move", "move_recursive",
                     "copy_move_single", "delete", "get_property_names", "get_property_value", "set_property_value"]),
    (DAVNonCollection, ["get_content", "begin_write", "end_write", "get_etag", "support_ranges"]),
])
def test_what_we_replace_is_still_there(kind: type, names: list[str]) -> None:
    assert [name for name in names if not callable(getattr(kind, name, None))] == []
