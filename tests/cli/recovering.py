"""A chunked share with what is awkward in it, made through a real server; and what clients see of a share."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from xml.etree import ElementTree

from tests.clients.serving import Served
from tests.clients.webdav import Client

DAV = "{DAV:}"
UNLIKE = {DAV + "getetag", DAV + "lockdiscovery", DAV + "supportedlock"}
"""What may differ between two copies of a share, or says nothing about it."""
ALL = b'<?xml version="1.0"?><propfind xmlns="DAV:"><allprop/></propfind>'
PATCH = ('<?xml version="1.0"?><propertyupdate xmlns="DAV:" xmlns:z="urn:z"><set><prop>'
         '<z:note xml:lang="de">Grüße <z:b>&amp; mehr</z:b></z:note></prop></set></propertyupdate>')
SERVE = ("--layout", "chunked", "--upload-delay", "0", "--pack-below", "20K", "--archive-size", "64K",
         "--block-size", "64K")

Seen = dict[str, tuple[dict[str, str], bytes | None]]


def davfusion(*arguments: object, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([sys.executable, "-m", "davfusion", *map(str, arguments)], text=True, capture_output=True,
                          env={**os.environ, **(environ or {})}, timeout=120, check=False)


def fill(server: Served) -> None:
    """Make a share in several steps, each of which reaches the store on its own."""
    client = Client(server.url)
    for folder in ("/Ünïcode ☃ 'x' & %41", "/Ünïcode ☃ 'x' & %41/tief", "/leer", "/e\u0301 decomposed"):
        assert client.request("MKCOL", folder).status_code == 201
    for number in range(40):
        done = client.put(f"/Ünïcode ☃ 'x' & %41/{number:02} ☃.txt", f"number {number} ".encode() * (1 + 40 * number),
                          **{"X-OC-Mtime": "1234567890.25"})
        assert done.status_code == 201
    assert client.put("/empty", b"").status_code == 201
    assert client.put("/large", bytes(range(256)) * 1500).status_code == 201
    assert client.put("/tail.bin", os.urandom(70_001)).status_code == 201
    for path in ("/", "/Ünïcode ☃ 'x' & %41", "/large", "/empty"):
        assert client.request("PROPPATCH", path, data=PATCH.encode()).status_code == 207
    server.sync()
    assert client.move("/Ünïcode ☃ 'x' & %41/tief", "/umbenannt").status_code == 201
    for source, target in (("/Ünïcode ☃ 'x' & %41", "/Kopie"), ("/large", "/large again")):
        target_url = server.url.rstrip("/") + urllib.parse.quote(target)
        assert client.request("COPY", source, headers={"Destination": target_url}).status_code == 201
    server.sync()
    assert client.request("DELETE", "/Ünïcode ☃ 'x' & %41/00 ☃.txt").status_code == 204
    assert client.put("/Ünïcode ☃ 'x' & %41/01 ☃.txt", b"a later version").status_code == 204
    server.sync()


def seen(url: str, *, unreadable: tuple[str, ...] = ()) -> Seen:
    """All that a client sees of a share: properties by path, and the bytes of files; None for folders.

    Files named as unreadable must answer with an error of the server; theirs are empty here.
    """
    client = Client(url)
    found: Seen = {}
    for path, properties in _walk(client, "/"):
        if properties[DAV + "resourcetype"].strip():
            found[path] = properties, None
            continue
        answer = client.get(path)
        if path in unreadable:
            assert 500 <= answer.status_code < 600, f"GET {path}: {answer.status_code}"
            found[path] = properties, b""
            continue
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text[:300]}"
        found[path] = properties, answer.content
    return found


def _walk(client: Client, folder: str) -> list[tuple[str, dict[str, str]]]:
    answer = client.request("PROPFIND", folder, data=ALL, headers={"Depth": "1"})
    assert answer.status_code == 207, answer.text[:500]
    found = []
    for response in ElementTree.fromstring(answer.content).iter(DAV + "response"):
        path = urllib.parse.unquote(urllib.parse.urlsplit(response.findtext(DAV + "href", "")).path)
        path = path.rstrip("/") or "/"
        properties = {element.tag: _text(element) for element in response.iterfind(f".//{DAV}prop/*")
                      if element.tag not in UNLIKE and not element.tag.startswith(f"{DAV}quota")}
        if path == folder.rstrip("/") or path == folder:
            if folder == "/":
                found.append((path, properties))
            continue
        found.append((path, properties))
        if properties[DAV + "resourcetype"].strip():
            found += _walk(client, path)
    return found


def _text(element: ElementTree.Element) -> str:
    inside = "".join(ElementTree.tostring(child, encoding="unicode") for child in element)
    return f"{element.attrib or ''}{element.text or ''}{inside}"
