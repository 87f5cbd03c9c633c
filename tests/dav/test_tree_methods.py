"""MKCOL, DELETE, COPY, MOVE and OPTIONS."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.dav.client import Client, set_property


def tree(client: Client, url: str = "/") -> list[str]:
    return client.find(url, "{DAV:}getetag", depth="infinity").hrefs()[1:]


@pytest.fixture(autouse=True)
def a_tree(client: Client) -> None:
    client.mkcol("/dir")
    client.mkcol("/dir/sub")
    client.put("/dir/sub/f", b"deep")
    client.put("/f", b"flat")


@pytest.mark.parametrize(("url", "body", "status"), [
    ("/new", b"", 201), ("/new/", b"", 201), ("/dir", b"", 405), ("/f", b"", 405), ("/missing/new", b"", 409),
    ("/f/new", b"", 409), ("/new", b"<mkcol/>", 415), ("/", b"", 405),
])
def test_mkcol(client: Client, url: str, body: bytes, status: int) -> None:
    answer = client.request("MKCOL", url, body)
    assert answer.status == status
    assert ("/new/" in tree(client)) is (status == 201)
    assert ("allow" in answer.headers) is (status == 405)


def test_mkcol_with_a_chunked_body(client: Client) -> None:
    assert client.request("MKCOL", "/new", b"x", {"Transfer-Encoding": "chunked"}).status == 415
    assert client.request("MKCOL", "/new", b"", {"Transfer-Encoding": "chunked"}).status == 201


def test_delete(client: Client) -> None:
    assert client.delete("/dir").status == 204
    assert tree(client) == ["/f"]
    assert client.delete("/dir").status == 404
    assert client.delete("/f", Depth="infinity").status == 204
    assert tree(client) == []


@pytest.mark.parametrize(("url", "headers", "status"), [
    ("/dir", {"Depth": "0"}, 400), ("/dir", {"Depth": "1"}, 400), ("/", {}, 403), ("/f", {"If-Match": '"x"'}, 412),
    ("/f", {"If": '(["x"])'}, 412),
])
def test_deletes_that_are_refused(client: Client, url: str, headers: dict[str, str], status: int) -> None:
    before = tree(client)
    assert client.request("DELETE", url, headers=headers).status == status
    assert tree(client) == before


def test_copy(client: Client) -> None:
    client.proppatch("/f", set_property("<z:a>1</z:a>"))
    assert client.copy("/f", "http://box/g").status == 201
    assert client.copy("/f", "/g").status == 204
    assert client.get("/g").body == b"flat" and client.find("/g", "{urn:z}a").value("{urn:z}a") == "1"
    assert client.copy("/dir", "/copy").status == 201
    assert "/copy/sub/f" in tree(client) and "/dir/sub/f" in tree(client)


def test_a_copy_of_depth_0_takes_no_members(client: Client) -> None:
    assert client.copy("/dir", "/copy", Depth="0").status == 201
    assert tree(client, "/copy/") == []


def test_copy_onto_a_folder_does_not_merge(client: Client) -> None:
    client.mkcol("/copy")
    client.put("/copy/stays", b"no")
    assert client.copy("/dir", "/copy").status == 204
    assert tree(client, "/copy/") == ["/copy/sub/", "/copy/sub/f"]


def test_move(client: Client) -> None:
    client.proppatch("/dir/sub/f", set_property("<z:a>1</z:a>"))
    etag = client.get("/dir/sub/f").headers["etag"]
    assert client.move("/dir/", "/moved/").status == 201
    assert tree(client) == ["/f", "/moved/", "/moved/sub/", "/moved/sub/f"]
    assert client.get("/moved/sub/f").headers["etag"] == etag
    assert client.find("/moved/sub/f", "{urn:z}a").value("{urn:z}a") == "1"
    assert client.move("/f", "/moved/sub/f").status == 204
    assert client.get("/moved/sub/f").body == b"flat"


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(("url", "headers", "status"), [
    ("/f", {}, 400),
    ("/f", {"Destination": ""}, 400),
    ("/f", {"Destination": "relative"}, 400),
    ("/f", {"Destination": "/x?y"}, 400),
    ("/f", {"Destination": "/%ff"}, 400),
    ("/f", {"Destination": "/../x"}, 400),
    ("/f", {"Destination": "http://elsewhere/x"}, 502),
    ("/f", {"Destination": "https://box/x"}, 502),
    ("/f", {"Destination": "/x", "Overwrite": "maybe"}, 400),
    ("/f", {"Destination": "/x", "Depth": "1"}, 400),
    ("/f", {"Destination": "/dir/sub/f", "Overwrite": "F"}, 412),
    ("/f", {"Destination": "/dir/sub/f", "Overwrite": "f"}, 412),
    ("/f", {"Destination": "/missing/x"}, 409),
    ("/f", {"Destination": "/dir/sub/f/x"}, 409),
    ("/f", {"Destination": "/f"}, 403),
    ("/f", {"Destination": "http://BOX:80/f"}, 403),
    ("/dir", {"Destination": "/dir/sub/x"}, 403),
    ("/dir/sub", {"Destination": "/dir"}, 403),
    ("/dir", {"Destination": "/"}, 403),
    ("/missing", {"Destination": "/x"}, 404),
    ("/f", {"Destination": "/x", "If-Match": '"other"'}, 412),
])
def test_copies_and_moves_that_are_refused(client: Client, method: str, url: str, headers: dict[str, str],
                                           status: int) -> None:
    before = tree(client)
    assert client.request(method, url, headers=headers).status == status
    assert tree(client) == before and client.get("/dir/sub/f").body == b"deep"


def test_the_root_stays(client: Client) -> None:
    assert client.move("/", "/x").status == 403
    assert client.move("/dir", "/x", Depth="0").status == 400


NAMES = ["100%", "a#b", "a?b", "a;b", "a+b c", "'\"", "ü", "u\u0308", "🎉",
         "a&b<c>", "%25", "a:b", "=", "[x]", "\\", "~"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_goes_everywhere(client: Client, name: str) -> None:
    client.mkcol("/names")
    url = "/names/" + quote(name, safe="")
    assert client.put(url, name.encode()).status == 201
    href = client.find("/names/", "{DAV:}displayname", depth="1").hrefs()[1]
    assert client.find(href, "{DAV:}displayname").value("{DAV:}displayname") == name
    assert client.copy(href, f"http://box{url}2").status == 201
    assert client.move(href, href + "3").status == 201
    assert client.get(url + "2").body == client.get(url + "3").body == name.encode()
    assert client.request("OPTIONS", url + "2").headers["allow"].startswith("OPTIONS, GET")
    assert client.delete(url + "2").status == 204


def test_composed_and_decomposed_names_are_one(client: Client) -> None:
    client.mkcol("/%C3%BC")
    client.put("/%C3%BC/%C3%A4.txt", b"composed")
    decomposed = "/u%CC%88/a%CC%88.txt"
    assert client.get(decomposed).body == b"composed"
    assert client.put(decomposed, b"again").status == 204
    assert tree(client, "/%C3%BC/") == ["/%C3%BC/%C3%A4.txt"]
    assert client.put("/u%CC%88/new", b"").status == 201
    assert client.mkcol("/u%CC%88").status == 405
    assert client.move("/f", decomposed, Overwrite="F").status == 412
    # The spelling of one file can be changed all the same.
    assert client.move("/%C3%BC/%C3%A4.txt", decomposed).status == 201
    assert tree(client, "/%C3%BC/") == ["/%C3%BC/a%CC%88.txt", "/%C3%BC/new"]


@pytest.mark.parametrize(("url", "allow"), [
    ("/f", "OPTIONS, GET, HEAD, PROPFIND, PUT, DELETE, COPY, MOVE, PROPPATCH, LOCK, UNLOCK"),
    ("/dir", "OPTIONS, GET, HEAD, PROPFIND, DELETE, COPY, MOVE, PROPPATCH, LOCK, UNLOCK"),
    ("/new", "OPTIONS, PUT, MKCOL, LOCK"),
    ("/missing/deep/new", "OPTIONS, PUT, MKCOL, LOCK"),
])
def test_options(client: Client, url: str, allow: str) -> None:
    answer = client.request("OPTIONS", url)
    assert (answer.status, answer.headers["allow"]) == (200, allow)
    assert answer.headers["dav"] == "1, 2, 3" and answer.headers["ms-author-via"] == "DAV"


def test_options_of_the_server(client: Client) -> None:
    answer = client.request("OPTIONS", "*")
    assert answer.status == 200 and answer.headers["dav"] == "1, 2, 3" and "LOCK" in answer.headers["allow"]


def test_options_where_the_server_leaves_the_path_encoded(client: Client) -> None:
    client.mkcol("/a%20b")
    answer = client.request("OPTIONS", "/a%20b?x", PATH_INFO="/a%20b")
    assert answer.headers["allow"].startswith("OPTIONS, GET")


@pytest.mark.parametrize(("method", "status"), [
    ("POST", 405), ("PATCH", 405), ("TRACE", 405), ("FROBNICATE", 501), ("get", 501)])
def test_methods_that_are_not_for_files(client: Client, method: str, status: int) -> None:
    answer = client.request(method, "/f")
    assert answer.status == status and ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize("path", ["/\xff", "/../f", "/dir/../f", "/a\0b", "/./f", "noslash"])
def test_paths_that_name_nothing(client: Client, path: str) -> None:
    answer = client.request("GET", "/x", PATH_INFO=path)
    assert answer.status == 400 and answer.body


def test_double_slashes_are_one(client: Client) -> None:
    assert client.get("//dir///sub//f").body == b"deep"
