"""PROPFIND and PROPPATCH."""

from __future__ import annotations

import re
import time

import pytest

from davfusion.cache.share import Share
from davfusion.dav import propfind
from davfusion.dav.app import DavFusionApp
from davfusion.dav.request import DavSettings
from tests.dav.client import Client, D, remove_property, set_property

LIVE = {"resourcetype", "displayname", "creationdate", "getlastmodified", "getcontentlength", "getcontenttype",
        "getetag", "supportedlock", "lockdiscovery"}
M = "{urn:schemas-microsoft-com:}"
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture(autouse=True)
def a_tree(client: Client) -> None:
    client.mkcol("/dir")
    client.put("/dir/a.txt", b"12345")
    client.mkcol("/dir/sub")
    client.put("/dir/sub/b", b"")


def body(inner: str) -> str:
    return f'<D:propfind xmlns:D="DAV:" xmlns:z="urn:z">{inner}</D:propfind>'


def names(answer_properties: dict[tuple[str, int], object], status: int = 200) -> set[str]:
    return {name.removeprefix(D) for name, code in answer_properties if code == status}


@pytest.mark.parametrize("content", ["", body("<D:allprop/>")])
def test_allprop(client: Client, content: str) -> None:
    client.proppatch("/dir/a.txt", set_property("<z:color>red</z:color>"))
    answer = client.propfind("/dir/a.txt", content)
    assert answer.status == 207 and names(answer.properties()) == LIVE | {"{urn:z}color"}
    assert answer.value(D + "getcontentlength") == "5"
    assert answer.value(D + "getcontenttype") == "text/plain"
    assert answer.value(D + "getetag") == client.get("/dir/a.txt").headers["etag"]
    assert answer.value(D + "getlastmodified") == client.get("/dir/a.txt").headers["last-modified"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer.value(D + "creationdate") or "")


def test_allprop_with_include(client: Client) -> None:
    answer = client.propfind("/dir", body("<D:allprop/><D:include><D:quota-used-bytes/><z:none/></D:include>"))
    assert "quota-used-bytes" in names(answer.properties())
    assert names(answer.properties(), 404) == {"{urn:z}none"}


def test_a_folder_has_no_properties_of_files(client: Client) -> None:
    found = client.propfind("/dir").properties()
    assert names(found) == LIVE - {"getcontentlength", "getcontenttype", "getetag"}
    assert found[D + "resourcetype", 200].find(D + "collection") is not None


def test_propname(client: Client) -> None:
    client.proppatch("/dir/a.txt", set_property("<z:color>red</z:color>"))
    found = client.propfind("/dir/a.txt", body("<D:propname/>")).properties()
    assert names(found) >= LIVE | {"{urn:z}color", M + "Win32LastModifiedTime"}
    assert "quota-used-bytes" not in names(found)
    assert all(not element.text and not len(element) for element in found.values())


def test_named_properties_and_those_missing(client: Client) -> None:
    found = client.find("/dir/a.txt", D + "getcontentlength", D + "nonsense", "{urn:z}none").properties()
    assert names(found) == {"getcontentlength"} and names(found, 404) == {"nonsense", "{urn:z}none"}


@pytest.mark.parametrize("header", [{"Brief": "t"}, {"Prefer": "respond-async, return=minimal"}])
def test_minimal_answers_leave_the_missing_out(client: Client, header: dict[str, str]) -> None:
    answer = client.find("/dir/a.txt", D + "getcontentlength", "{urn:z}none", **header)
    assert names(answer.properties(), 404) == set() and answer.headers["preference-applied"] == "return=minimal"
    nothing = client.find("/dir/a.txt", "{urn:z}none", **header)
    assert nothing.xml.find(f"{D}response/{D}propstat") is not None


@pytest.mark.parametrize(("depth", "hrefs"), [
    ("0", ["/dir/"]),
    ("1", ["/dir/", "/dir/a.txt", "/dir/sub/"]),
    ("infinity", ["/dir/", "/dir/a.txt", "/dir/sub/", "/dir/sub/b"]),
    ("Infinity", ["/dir/", "/dir/a.txt", "/dir/sub/", "/dir/sub/b"]),
    ("1,noroot", ["/dir/a.txt", "/dir/sub/"]),
])
def test_depth(client: Client, depth: str, hrefs: list[str]) -> None:
    assert sorted(client.find("/dir", D + "getetag", depth=depth).hrefs()) == hrefs


def test_the_folder_itself_can_be_left_out(client: Client) -> None:
    assert client.find("/dir", D + "getetag", depth="1", Prefer="depth-noroot").hrefs() == ["/dir/a.txt", "/dir/sub/"]


def test_no_depth_is_infinite(client: Client) -> None:
    assert len(client.request("PROPFIND", "/dir").hrefs()) == 4


def test_too_much_for_one_answer(share: Share) -> None:
    for limit, status in ((2, 403), (3, 207), (0, 403)):
        client = Client(DavFusionApp({"/": share}, settings=DavSettings(infinite_depth_limit=limit)))
        answer = client.propfind("/dir", depth="infinity")
        assert answer.status == status
        assert status == 207 or answer.xml.find(D + "propfind-finite-depth") is not None
        assert client.propfind("/dir", depth="1").status == 207


def test_a_long_answer_is_streamed_and_whole(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propfind, "_STREAM_ABOVE", 3)
    answer = client.find("/dir", D + "getetag", depth="infinity")
    assert "content-length" not in answer.headers and len(answer.hrefs()) == 4


@pytest.mark.parametrize(("url", "content", "depth", "status"), [
    ("/missing", "", "0", 404), ("/dir", "", "2", 400), ("/dir", "", "0,other", 400), ("/dir", "<x", "0", 400),
    ("/dir", "<x/>", "0", 400), ("/dir", "<!DOCTYPE a><a/>", "0", 400),
    ("/dir", '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><propfind xmlns="DAV:"><prop>&e;</prop></propfind>',
     "0", 400),
    ("/dir", "<propfind xmlns='DAV:'><prop>" + "<a/>" * 1001 + "</prop></propfind>", "0", 413),
    ("/dir", "<propfind xmlns='DAV:'/>" + " " * (1 << 20), "0", 413),
])
def test_refusals(client: Client, url: str, content: str, depth: str, status: int) -> None:
    assert client.propfind(url, content, depth=depth).status == status


def test_a_chunked_body_is_read(client: Client) -> None:
    answer = client.request("PROPFIND", "/dir", body("<D:prop><D:displayname/></D:prop>").encode(),
                            {"Depth": "0", "Transfer-Encoding": "chunked"}, CONTENT_LENGTH="")
    assert names(answer.properties()) == {"displayname"}


def test_quota(client: Client) -> None:
    found = client.find("/dir", D + "quota-used-bytes", D + "quota-available-bytes")
    assert int(found.value(D + "quota-used-bytes") or 0) == 5
    assert int(found.value(D + "quota-available-bytes") or 0) > 0
    of_file = client.find("/dir/a.txt", D + "quota-used-bytes", D + "quota-available-bytes").properties()
    assert names(of_file, 404) == {"quota-used-bytes", "quota-available-bytes"}


def test_windows_gets_short_answers(client: Client) -> None:
    answer = client.propfind("/dir/a.txt", User_Agent="Microsoft-WebDAV-MiniRedir/10.0.19045")
    assert names(answer.properties()) == LIVE - {"supportedlock", "lockdiscovery"}


def test_one_odd_name_does_not_spoil_a_listing(client: Client) -> None:
    client.put("/dir/%01%EF%BF%BE", b"")
    answer = client.propfind("/dir", depth="1")
    assert "/dir/%01%EF%BF%BE" in answer.hrefs()
    assert answer.value(D + "displayname", "/dir/%01%EF%BF%BE") == "\ufffd\ufffd"


def test_dead_properties_of_members_and_below(client: Client) -> None:
    client.proppatch("/dir/a.txt", set_property("<z:color>red</z:color>"))
    client.proppatch("/dir/sub/b", set_property("<z:color>blue</z:color>"))
    for depth in ("1", "infinity"):
        assert client.find("/dir", "{urn:z}color", depth=depth).value("{urn:z}color", "/dir/a.txt") == "red"
    assert client.find("/dir", "{urn:z}color", depth="infinity").value("{urn:z}color", "/dir/sub/b") == "blue"


def test_values_are_kept_as_they_are(client: Client) -> None:
    value = '<z:a xmlns:q="urn:q" q:k="&lt;&quot;" xml:lang="de">t&amp;<q:b/>ü🎉 <![CDATA[<x>]]> tail</z:a>'
    assert client.proppatch("/dir/a.txt", set_property(value)).properties()["{urn:z}a", 200] is not None
    found = client.find("/dir/a.txt", "{urn:z}a").properties()["{urn:z}a", 200]
    assert found.get("{urn:q}k") == '<"' and found.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    assert "".join(found.itertext()) == "t&ü🎉 <x> tail" and found[0].tag == "{urn:q}b"


def test_a_property_without_a_namespace(client: Client) -> None:
    client.proppatch("/dir/a.txt", set_property("<plain xmlns=''>x</plain>"))
    content = '<D:propfind xmlns:D="DAV:"><D:prop><plain/></D:prop></D:propfind>'
    assert client.propfind("/dir/a.txt", content).value("plain") == "x"


def test_set_and_remove_in_document_order(client: Client) -> None:
    answer = client.proppatch("/dir/a.txt", set_property("<z:a>1</z:a><z:b>1</z:b>") + remove_property("<z:a/>")
                              + set_property("<z:b>2</z:b>") + remove_property("<z:never/>"))
    assert {code for _, code in answer.properties()} == {200}
    found = client.find("/dir/a.txt", "{urn:z}a", "{urn:z}b")
    assert found.value("{urn:z}a") is None and found.value("{urn:z}b") == "2"


def test_all_or_nothing(client: Client) -> None:
    answer = client.proppatch("/dir/a.txt", set_property("<z:a>1</z:a><D:getetag>x</D:getetag><z:b>1</z:b>"))
    assert set(answer.properties()) == {("{urn:z}a", 424), (D + "getetag", 403), ("{urn:z}b", 424)}
    assert answer.xml.find(f".//{D}error/{D}cannot-modify-protected-property") is not None
    assert client.find("/dir/a.txt", "{urn:z}a").value("{urn:z}a") is None


@pytest.mark.parametrize("name", [*sorted(LIVE - {"displayname", "getlastmodified"}), "quota-used-bytes"])
def test_protected_properties(client: Client, name: str) -> None:
    for instruction in (set_property(f"<D:{name}/>"), remove_property(f"<D:{name}/>")):
        assert client.proppatch("/dir", instruction).properties() .keys() == {(D + name, 403)}


def test_a_display_name_can_be_given_and_taken_back(client: Client) -> None:
    client.proppatch("/dir", set_property("<D:displayname>Photos</D:displayname>"))
    for url, depth in (("/dir", "0"), ("/", "1")):
        assert client.find(url, D + "displayname", depth=depth).value(D + "displayname", "/dir/") == "Photos"
        assert client.propfind(url, depth=depth).value(D + "displayname", "/dir/") == "Photos"
    client.proppatch("/dir", remove_property("<D:displayname/>"))
    assert client.find("/dir", D + "displayname").value(D + "displayname") == "dir"


def test_windows_times(client: Client) -> None:
    answer = client.proppatch("/dir/a.txt", set_property(
        f"<m:Win32CreationTime>{DATE}</m:Win32CreationTime><m:Win32LastAccessTime>{DATE}</m:Win32LastAccessTime>"
        f"<m:Win32LastModifiedTime>{DATE}</m:Win32LastModifiedTime>"
        "<m:Win32FileAttributes>00000020</m:Win32FileAttributes>"))
    assert {code for _, code in answer.properties()} == {200} and len(answer.properties()) == 4
    found = client.find("/dir/a.txt", D + "getlastmodified", D + "creationdate", M + "Win32LastModifiedTime",
                        M + "Win32CreationTime", M + "Win32FileAttributes", M + "Win32LastAccessTime")
    assert [found.value(name) for name in (D + "getlastmodified", M + "Win32LastModifiedTime",
                                           M + "Win32CreationTime", M + "Win32LastAccessTime")] == [DATE] * 4
    assert found.value(D + "creationdate") == "2023-11-14T22:13:20Z"
    assert found.value(M + "Win32FileAttributes") == "00000020"
    assert client.propfind("/dir/a.txt").value(M + "Win32FileAttributes") == "00000020"


def test_a_bad_time_is_a_conflict(client: Client) -> None:
    before = client.get("/dir/a.txt").headers["last-modified"]
    answer = client.proppatch("/dir/a.txt", set_property(
        "<m:Win32LastModifiedTime>soon</m:Win32LastModifiedTime><z:a/>"))
    assert set(answer.properties()) == {(M + "Win32LastModifiedTime", 409), ("{urn:z}a", 424)}
    assert client.get("/dir/a.txt").headers["last-modified"] == before


def test_getlastmodified_can_be_set(client: Client) -> None:
    etag = client.get("/dir/a.txt").headers["etag"]
    client.proppatch("/dir/a.txt", set_property(f"<D:getlastmodified>{DATE}</D:getlastmodified>"))
    answer = client.get("/dir/a.txt")
    assert answer.headers["last-modified"] == DATE and answer.headers["etag"] == etag


@pytest.mark.parametrize(("url", "content", "headers", "status"), [
    ("/missing", set_property("<z:a/>"), {}, 404),
    ("/dir", "", {}, 400),
    ("/dir", set_property("<z:a/>"), {"Depth": "1"}, 400),
    ("/dir/a.txt", set_property("<z:a/>"), {"If-Match": '"x"'}, 412),
])
def test_patches_that_are_refused(client: Client, url: str, content: str, headers: dict[str, str],
                                  status: int) -> None:
    assert client.proppatch(url, content, **headers).status == status


def test_an_entity_cannot_be_planted(client: Client) -> None:
    answer = client.request("PROPPATCH", "/dir", b'<!DOCTYPE p [<!ENTITY d "x">]><D:propertyupdate xmlns:D="DAV:">'
                            b"<D:set><D:prop><a>&d;</a></D:prop></D:set></D:propertyupdate>")
    assert answer.status == 400 and client.propfind("/dir").status == 207


def test_lock_timeouts_are_told_as_what_is_left(client: Client) -> None:
    client.lock("/dir/a.txt", Timeout="Second-100")
    text = client.find("/dir/a.txt", D + "lockdiscovery").properties()[D + "lockdiscovery", 200]
    left = int((text.findtext(f".//{D}timeout") or "").removeprefix("Second-"))
    assert 95 <= left <= 100 and time.time() > 0
