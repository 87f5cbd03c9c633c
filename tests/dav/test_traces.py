"""What known clients send, one request after the other, and what they need to get."""

from __future__ import annotations

import io

from tests.dav.client import Client, D

WINDOWS = {"User-Agent": "Microsoft-WebDAV-MiniRedir/10.0.19045", "Translate": "f"}
M = "{urn:schemas-microsoft-com:}"
TIME = "Tue, 14 Nov 2023 22:13:20 GMT"
LOCK = (b'<?xml version="1.0" encoding="utf-8" ?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
        b"<D:locktype><D:write/></D:locktype><D:owner><D:href>BOX\\me</D:href></D:owner></D:lockinfo>")
PATCH = (b'<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" '
         b'xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop>'
         b"<Z:Win32CreationTime>" + TIME.encode() + b"</Z:Win32CreationTime>"
         b"<Z:Win32LastAccessTime>" + TIME.encode() + b"</Z:Win32LastAccessTime>"
         b"<Z:Win32LastModifiedTime>" + TIME.encode() + b"</Z:Win32LastModifiedTime>"
         b"<Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>")


def test_windows_explorer_saves_a_file(client: Client) -> None:
    options = client.request("OPTIONS", "/", headers=WINDOWS)
    assert "2" in options.headers["dav"] and options.headers["ms-author-via"] == "DAV"
    assert client.request("PROPFIND", "/", headers={**WINDOWS, "Depth": "0"}).status == 207
    assert client.request("PROPFIND", "/new.docx", headers={**WINDOWS, "Depth": "0"}).status == 404
    assert client.request("PUT", "/new.docx", b"", {**WINDOWS, "Content-Length": "0"}).status == 201
    lock = client.request("LOCK", "/new.docx", LOCK, {**WINDOWS, "Timeout": "Second-3600", "Content-Type": "text/xml"})
    assert lock.status == 200
    held = {**WINDOWS, "If": f"(<{lock.token}>)"}
    assert client.request("PROPPATCH", "/new.docx", PATCH, held).status == 207
    assert client.request("HEAD", "/new.docx", headers=WINDOWS).headers["content-length"] == "0"
    assert client.request("PUT", "/new.docx", b"document", held).status == 204
    assert client.request("PROPPATCH", "/new.docx", PATCH, held).status == 207
    assert client.request("UNLOCK", "/new.docx", headers={**WINDOWS, "Lock-Token": f"<{lock.token}>"}).status == 204
    listing = client.request("PROPFIND", "/", headers={**WINDOWS, "Depth": "1"})
    assert listing.value(D + "getlastmodified", "/new.docx") == TIME
    assert listing.value(D + "creationdate", "/new.docx") == "2023-11-14T22:13:20Z"
    assert listing.value(M + "Win32FileAttributes", "/new.docx") == "00000020"
    assert listing.value(D + "getcontentlength", "/new.docx") == "8"


def test_windows_lists_thousands_of_files_within_its_limit(client: Client) -> None:
    for number in range(50):
        client.put(f"/Photo%20of%20{number:04d}.jpg", b"")
    size = len(client.request("PROPFIND", "/", headers={**WINDOWS, "Depth": "1"}).body)
    assert size / 51 < 600


def test_finder_copies_a_file(client: Client) -> None:
    finder = {"User-Agent": "WebDAVFS/3.0.0 (03008000) Darwin/22.6.0 (arm64)"}
    for name in ("._report.pdf", ".DS_Store"):
        assert client.request("PROPFIND", f"/{name}", headers={**finder, "Depth": "0"}).status == 404
    assert client.find("/", D + "quota-available-bytes", D + "quota-used-bytes").value(D + "quota-used-bytes") == "0"
    assert client.request("PUT", "/report.pdf", b"", {**finder, "Content-Length": "0"}).status == 201
    lock = client.request("LOCK", "/report.pdf", LOCK, {**finder, "Depth": "0", "Timeout": "Second-600"})
    held = {**finder, "If": f"(<{lock.token}>)"}
    content = bytes(range(256)) * 1000
    put = client.request(
        "PUT", "/report.pdf", headers={**held, "Transfer-Encoding": "chunked",
                                       "X-Expected-Entity-Length": str(len(content))},
        **{"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": ""})
    assert put.status == 204
    assert client.request("LOCK", "/report.pdf", headers=held).status == 200
    assert client.request("UNLOCK", "/report.pdf", headers={**finder, "Lock-Token": f"<{lock.token}>"}).status == 204
    assert client.get("/report.pdf").body == content


def test_davfs2_creates_and_saves(client: Client) -> None:
    lock = client.request("LOCK", "/notes.txt", LOCK, {"Depth": "0", "Timeout": "Second-300"})
    assert lock.status == 201 and lock.headers["content-type"].startswith("application/xml")
    held = f"<http://box/notes.txt> (<{lock.token}>)"
    head = client.request("HEAD", "/notes.txt")
    put = client.put("/notes.txt", b"text", If_=held, If_Match=head.headers["etag"])
    assert put.status == 204
    assert client.put("/notes.txt", b"lost", If_=held, If_Match=head.headers["etag"]).status == 412
    assert client.unlock("/notes.txt", lock.token).status == 204
    assert client.get("/notes.txt").body == b"text"


def test_word_saves_by_renaming(client: Client) -> None:
    client.put("/Doc.docx", b"old")
    lock = client.lock("/Doc.docx")
    held = f"(<{lock.token}>)"
    assert client.put("/~WRD0001.tmp", b"new").status == 201
    assert client.move("/Doc.docx", "/~WRL0002.tmp", If_=held).status == 201
    assert client.move("/~WRD0001.tmp", "/Doc.docx", Overwrite="F").status == 201
    assert client.delete("/~WRL0002.tmp").status == 204
    assert client.get("/Doc.docx").body == b"new"


def test_rclone_as_owncloud(client: Client) -> None:
    put = client.put("/f", b"abc", X_OC_Mtime="1700000000", OC_Checksum="SHA1:a9993e364706816aba3e25717850c26c9cd0d89d",
                     OC_Total_Length="3")
    assert put.status == 201 and put.headers["x-oc-mtime"] == "accepted"
    names = (D + "displayname", D + "getlastmodified", D + "getcontentlength", D + "resourcetype", D + "getcontenttype",
             "{http://owncloud.org/ns}checksums")
    assert client.find("/", *names, depth="1").value(D + "getlastmodified", "/f") == TIME
