"""GET and HEAD."""

from __future__ import annotations

import io
import re
from email.message import Message
from email.parser import BytesParser

import pytest

from davfusion.cache.node import Node
from davfusion.cache.share import Share
from davfusion.dav.dates import http_date
from tests.dav.client import Answer, Client

CONTENT = bytes(range(256)) * 4


@pytest.fixture(params=["cached", "in the store"])
def file(request: pytest.FixtureRequest, client: Client, share: Share) -> str:
    """A file whose content is in the cache, or only in the store."""
    if request.param == "cached":
        assert client.put("/f.bin", CONTENT).status == 201
    else:
        share.store.store_fileobject(io.BytesIO(CONTENT), "/f.bin")
    return "/f.bin"


def test_whole_file(client: Client, file: str) -> None:
    answer = client.get(file)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-length"] == "1024"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch(r'"[^"]+"', answer.headers["etag"])


def test_head_tells_the_same_and_sends_nothing(client: Client, file: str) -> None:
    head, get = client.request("HEAD", file), client.get(file)
    assert head.status == 200 and head.headers == get.headers


def test_head_ignores_range(client: Client, file: str) -> None:
    assert client.request("HEAD", file, headers={"Range": "bytes=0-1"}).status == 200


@pytest.mark.parametrize(("header", "expected"), [("bytes=0-9", (0, 10)), ("bytes=1000-", (1000, 1024)),
                                                 ("bytes=-4", (1020, 1024)), ("bytes=1023-5000", (1023, 1024))])
def test_one_range(client: Client, file: str, header: str, expected: tuple[int, int]) -> None:
    answer = client.get(file, Range=header)
    start, stop = expected
    assert (answer.status, answer.body) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"


def parts(answer: Answer) -> list[Message]:
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + answer.body)
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, Message)]


def test_several_ranges_come_as_multipart(client: Client, file: str) -> None:
    answer = client.get(file, Range="bytes=32-63,-32,100-131")
    assert answer.status == 206 and "content-range" not in answer.headers
    assert [part["Content-Range"] for part in parts(answer)] == [
        "bytes 32-63/1024", "bytes 992-1023/1024", "bytes 100-131/1024"]
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    bodies = [section.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
              for section in answer.body.split(b"--" + boundary)[1:-1]]
    assert bodies == [CONTENT[32:64], CONTENT[992:], CONTENT[100:132]]


def test_a_part_outside_of_the_file(client: Client, file: str) -> None:
    answer = client.get(file, Range="bytes=1024-")
    assert answer.status == 416 and answer.headers["content-range"] == "bytes */1024"


def test_if_range(client: Client, file: str) -> None:
    etag = client.get(file).headers["etag"]
    assert client.get(file, Range="bytes=0-1", If_Range=etag).status == 206
    assert client.get(file, Range="bytes=0-1", If_Range='"other"').status == 200
    # What does not apply cannot fail either.
    assert client.get(file, Range="bytes=5000-", If_Range='"other"').status == 200


def test_conditions(client: Client, file: str) -> None:
    first = client.get(file)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    same = client.get(file, If_None_Match=etag)
    assert same.status == 304 and same.headers["etag"] == etag
    assert client.get(file, If_Modified_Since=modified).status == 304
    assert client.get(file, If_Modified_Since=http_date(0)).status == 200
    assert client.get(file, If_None_Match='"other"', If_Modified_Since=modified).status == 200
    assert client.get(file, If_Match='"other"').status == 412
    assert client.get(file, If_Match="no quotes").status == 400
    assert client.get(file, If_Unmodified_Since=http_date(0)).status == 412


def test_the_empty_file(client: Client) -> None:
    client.put("/empty")
    answer = client.get("/empty", Range="bytes=0-")
    assert (answer.status, answer.body) == (200, b"")


def test_file_wrapper_gets_the_file_at_its_position(client: Client) -> None:
    client.put("/f", CONTENT * 100)
    seen = []

    class Wrapper:
        def __init__(self, file: io.FileIO, size: int) -> None:
            self.file = file
            seen.append((file.tell(), file.fileno() > 2))

        def __iter__(self) -> object:
            yield self.file.read(10)

        def close(self) -> None:
            self.file.close()
            seen.append("closed")

    answer = client.request("GET", "/f", headers={"Range": "bytes=100-109"}, **{"wsgi.file_wrapper": Wrapper})
    assert answer.body == CONTENT[100:110]
    assert seen == [(100, True), "closed"]


def test_a_file_replaced_between_look_and_open_is_not_missing(client: Client, share: Share) -> None:
    client.put("/f", b"old")
    found = share.find("/f")
    assert found is not None
    stale = found._replace(content=10**9)
    client.put("/f", b"new version")

    class Late(Share):
        """Looks first at what was there before, whose content is swept by now."""

        first = True

        def find(self, path: str) -> Node | None:
            if path == "/f" and self.first:
                self.first = False
                return stale
            return super().find(path)

    share.__class__ = Late
    answer = client.get("/f")
    assert (answer.status, answer.body) == (200, b"new version")


@pytest.mark.parametrize(("name", "declared", "expected"), [
    ("a.txt", None, "text/plain"), ("a.TXT", None, "text/plain"), ("a", None, "application/octet-stream"),
    ("a.tar.gz", None, "application/gzip"), (".png", None, "application/octet-stream"),
    ("data:,x.png", None, "image/png"), ("a.txt", "application/octet-stream", "text/plain"),
    ("a.bin", "text/x-mine; charset=utf-8", "text/x-mine; charset=utf-8"), ("a.txt", "not a type", "text/plain"),
])
def test_media_types(client: Client, name: str, declared: str | None, expected: str) -> None:
    headers = {"Content-Type": declared} if declared else {}
    client.request("PUT", f"/{name}", b"x", headers)
    assert client.get(f"/{name}").headers["content-type"] == expected


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.xml"])
def test_documents_that_could_act_are_put_into_a_sandbox(client: Client, name: str) -> None:
    client.put(f"/{name}", b"<script>alert(1)</script>")
    assert client.get(f"/{name}").headers["content-security-policy"].startswith("sandbox")


def test_a_folder_is_a_page_with_escaped_names(client: Client) -> None:
    client.mkcol("/dir")
    client.put("/dir/%3Cscript%3E%22'&.txt", b"x")
    client.mkcol("/dir/sub")
    page = client.get("/dir/")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in page.text and "&lt;script&gt;" in page.text
    assert 'href="/dir/%3Cscript%3E%22&#x27;&amp;.txt"' in page.text and 'href="/dir/sub/"' in page.text
    assert "script" not in page.headers["content-security-policy"]
    assert client.request("HEAD", "/dir/").status == 200


def test_a_folder_without_slash_is_redirected_to_its_full_url(client: Client) -> None:
    client.mkcol("/d%C3%BC%20r")
    answer = client.get("/d%C3%BC%20r")
    assert (answer.status, answer.headers["location"]) == (301, "/d%C3%BC%20r/")


@pytest.mark.parametrize("url", ["/missing", "/missing/", "/f/below"])
def test_what_is_not_there(client: Client, url: str) -> None:
    client.put("/f", b"")
    assert client.get(url).status == 404
