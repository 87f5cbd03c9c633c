"""What people do with the drive: one or several connections, every answer checked."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from lxml import etree

from tests.benchmarks.cloud.tree import Tree
from tests.benchmarks.listings import BODY
from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask

_DAV = "{DAV:}"


def exchange(client: Client, ask: Ask, *statuses: int) -> bytes:
    """The body of an answer. Raises AnswerError for another status."""
    body = bytearray()
    client.send(ask.wire(client.host))
    status, _ = client.receive(body.extend)
    if status not in statuses:
        raise AnswerError(f"{ask.method} {ask.path}: {status} {bytes(body[:200])!r}")
    return bytes(body)


def make_folders(url: str, tree: Tree) -> None:
    """The folders of a tree, without files."""
    with Client(url) as client:
        for path in (tree.folder, *tree.folder_paths()):
            exchange(client, Ask("MKCOL", path + "/"), 201)


class Puts:
    """The requests that put all files of a tree, made before anything is measured."""

    def __init__(self, url: str, tree: Tree) -> None:
        host = urlsplit(url).netloc
        self._url = url
        self._wires = [(path, Ask("PUT", path, body=tree.content(path)).wire(host)) for path in tree.paths()]

    def send(self, connections: int) -> None:
        """Send each once; every connection has a share of them. Raises AnswerError."""
        with ThreadPoolExecutor(connections) as pool:
            for _ in pool.map(lambda start: self._send_share(start, connections), range(connections)):
                pass

    def _send_share(self, start: int, step: int) -> None:
        with Client(self._url, buffer=8192) as client:
            for path, wire in self._wires[start::step]:
                client.send(wire)
                status, _ = client.receive()
                if status != 201:
                    raise AnswerError(f"PUT {path}: {status}")


def put_files(url: str, tree: Tree, connections: int) -> None:
    """All files of a tree, once each."""
    Puts(url, tree).send(connections)


def get_files(url: str, tree: Tree, paths: Sequence[str]) -> None:
    """Files of a tree on one connection, each compared."""
    with Client(url) as client:
        for path in paths:
            if exchange(client, Ask("GET", path), 200) != tree.content(path):
                raise AnswerError(f"{path} has other bytes")


def list_folder(url: str, path: str) -> dict[str, str]:
    """The sizes of the files of a folder by their paths, with one PROPFIND of Depth 1."""
    ask = Ask("PROPFIND", path + "/", (("Depth", "1"), ("Content-Type", "application/xml")), BODY)
    with Client(url) as client:
        return {href: response.findtext(f".//{_DAV}getcontentlength") or ""
                for href, response in _responses(exchange(client, ask, 207)) if not href.endswith("/")}


def describe_folder(url: str, path: str) -> dict[str, dict[str, str]]:
    """All properties of the members of a folder but the ETag, which is of a state directory."""
    ask = Ask("PROPFIND", path + "/", (("Depth", "1"),))
    with Client(url) as client:
        return {href: {element.tag: etree.tostring(element).decode()
                       for element in response.iterfind(f".//{_DAV}prop/*") if element.tag != f"{_DAV}getetag"}
                for href, response in _responses(exchange(client, ask, 207))}


def expect_files(url: str, tree: Tree) -> None:
    """Every folder of a tree shows all its files with their sizes. Raises AnswerError."""
    wanted = set(tree.paths())
    for folder in tree.folder_paths():
        found = list_folder(url, folder)
        missing = {path for path in wanted if path.startswith(folder + "/")} ^ set(found)
        if missing or set(found.values()) != {str(tree.size)}:
            raise AnswerError(f"{folder} shows {len(found)} files; {len(missing)} are wrong")


def _responses(body: bytes) -> list[tuple[str, etree._Element]]:
    return [(response.findtext(f"{_DAV}href") or "", response)
            for response in etree.fromstring(body).iter(f"{_DAV}response")]
