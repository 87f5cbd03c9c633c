"""Any request gets a proper answer: generated methods, paths, headers and bodies never end in 500."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from davfusion.cache.share import Share
from davfusion.dav.app import DavFusionApp
from davfusion.store.memory import MemoryStore
from tests.dav.client import Client, set_property


@pytest.fixture(scope="module")
def anyone() -> Iterator[Client]:
    with tempfile.TemporaryDirectory() as folder:
        share = Share(Path(folder), MemoryStore())
        client = Client(DavFusionApp({"/": share}))
        yield client
        share.close()


METHODS = st.sampled_from(["OPTIONS", "GET", "HEAD", "PROPFIND", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH",
                           "LOCK", "UNLOCK", "POST", "X"])
NAMES = st.sampled_from(["a", "b", "ä", "a\u0308", "%", "a&b", "\x01"]) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=3)
PATHS = st.lists(NAMES, max_size=3).map(lambda names: "/" + "/".join(quote(name, safe="") for name in names))
URLS = st.builds(lambda path, slash: path + slash, PATHS, st.sampled_from(["", "", "/"]))
JUNK = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20)
VALUES = {
    "Depth": st.sampled_from(["0", "1", "infinity", "2", ""]),
    "Destination": URLS | URLS.map(lambda url: f"http://box{url}") | JUNK,
    "Overwrite": st.sampled_from(["T", "F", "t", "x"]),
    "If": st.sampled_from(['(["x"])', "(Not <DAV:no-lock>)", "</a> (<t>)", "<http://box/b> (<t> [W/\"x\"])"]) | JUNK,
    "If-Match": st.sampled_from(["*", '"x"']) | JUNK,
    "If-None-Match": st.sampled_from(["*", '"x"']) | JUNK,
    "If-Modified-Since": st.sampled_from(["Sun, 06 Nov 1994 08:49:37 GMT"]) | JUNK,
    "If-Unmodified-Since": st.sampled_from(["Sun, 06 Nov 1994 08:49:37 GMT"]) | JUNK,
    "Range": st.sampled_from(["bytes=0-0", "bytes=-1,0-0", "bytes=99-"]) | JUNK,
    "If-Range": st.sampled_from(['"x"']) | JUNK,
    "Timeout": st.sampled_from(["Infinite", "Second-1"]) | JUNK,
    "Lock-Token": st.sampled_from(["<opaquelocktoken:1>"]) | JUNK,
    "Content-Type": st.sampled_from(["text/html"]) | JUNK,
    "X-OC-Mtime": st.sampled_from(["0", "-1e11", "1e308", "inf"]) | JUNK,
    "OC-Checksum": st.sampled_from(["MD5:x", ":"]) | JUNK,
    "Content-MD5": JUNK,
    "X-Expected-Entity-Length": JUNK,
    "OC-Total-Length": JUNK,
    "Brief": st.sampled_from(["t", "f"]),
}
HEADERS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none(), max_size=4).flatmap(
    lambda chosen: st.fixed_dictionaries({name: VALUES[name] for name in chosen}))
UPDATE = f'<D:propertyupdate xmlns:D="DAV:" xmlns:z="urn:z">{set_property("<z:a/>")}</D:propertyupdate>'
BODIES = st.sampled_from([
    b"", b"content", b"<a/>", b'<propfind xmlns="DAV:"><propname/></propfind>', UPDATE.encode(),
    b'<propfind xmlns="DAV:"><prop><lockdiscovery/><quota-used-bytes/><x xmlns=""/></prop></propfind>',
    b'<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype></lockinfo>'])


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(METHODS, URLS, HEADERS, BODIES)
def test_any_request(anyone: Client, method: str, url: str, headers: dict[str, str], body: bytes) -> None:
    answer = anyone.request(method, url, body, headers)
    assert answer.status != 500, answer
    if method == "PROPFIND" and answer.status == 207:
        assert answer.hrefs()
