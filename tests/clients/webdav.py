"""A plain WebDAV client for tests: what a share shows, as names and bytes."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from xml.etree import ElementTree

import requests

from tests.clients.serving import session

DAV = "{DAV:}"
BODY = b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/></prop></propfind>'
TIMEOUT = 60


@dataclass(frozen=True)
class Entry:
    path: str
    is_folder: bool
    size: int


class Client:
    """One keep-alive connection to a share; paths are decoded and absolute."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.session = session()

    def request(self, method: str, path: str, **options) -> requests.Response:
        options.setdefault("timeout", TIMEOUT)
        return self.session.request(method, self._url + urllib.parse.quote(path), **options)

    def put(self, path: str, data: bytes, **headers: str) -> requests.Response:
        return self.request("PUT", path, data=data, headers=headers)

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.request("GET", path, headers=headers)

    def move(self, source: str, destination: str) -> requests.Response:
        target = self._url + urllib.parse.quote(destination)
        return self.request("MOVE", source, headers={"Destination": target, "Overwrite": "T"})

    def list(self, path: str, depth: str = "1") -> list[Entry]:
        """The members of a folder, without itself."""
        answer = self.request("PROPFIND", path, data=BODY, headers={"Depth": depth})
        assert answer.status_code == 207, f"PROPFIND {path}: {answer.status_code} {answer.text[:500]}"
        entries = []
        for response in ElementTree.fromstring(answer.content).iter(f"{DAV}response"):
            href = urllib.parse.unquote(urllib.parse.urlsplit(response.findtext(f"{DAV}href", "")).path)
            if href.rstrip("/") == path.rstrip("/"):
                continue
            size = response.findtext(f".//{DAV}getcontentlength") or "0"
            is_folder = response.find(f".//{DAV}collection") is not None
            entries.append(Entry(href.rstrip("/"), is_folder, int(size)))
        return entries

    def tree(self, path: str) -> dict[str, bytes | None]:
        """Everything below a folder: the bytes of files, None for folders."""
        found: dict[str, bytes | None] = {}
        for entry in self.list(path):
            if entry.is_folder:
                found[entry.path] = None
                found.update(self.tree(entry.path))
                continue
            answer = self.get(entry.path)
            assert answer.status_code == 200, f"GET {entry.path}: {answer.status_code} {answer.text[:500]}"
            assert len(answer.content) == entry.size, f"{entry.path}: listed as {entry.size} bytes"
            found[entry.path] = answer.content
        return found
