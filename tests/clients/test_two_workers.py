"""What one worker acknowledged, another shows from then on, whatever it keeps at hand."""

from __future__ import annotations

import http.client
import random
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.clients.processes import descendants
from tests.clients.serving import Served, served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to tell which process answers")

DAV = "{DAV:}"
NAMED = (b'<D:propfind xmlns:D="DAV:"><D:prop><D:getcontentlength/><D:getetag/><c:colour xmlns:c="c:"/></D:prop>'
         b"</D:propfind>")
CONNECTIONS = 64
"""Tried until each worker has one: the kernel deals them out by their ports."""


class Seen(dict[str, tuple[int | None, str | None, str | None]]):
    """What a PROPFIND showed: length (None of a folder), ETag and colour by path."""


class Connection:
    """A connection that stays with one worker."""

    def __init__(self, server: Served) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._base = server.url.rstrip("/")
        assert self.request("OPTIONS", "/")[0] == 200
        self.worker = self._worker(server)

    def _worker(self, server: Served) -> int:
        own = self._http.sock.getsockname()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            ports = [int(fields[column].rpartition(":")[2], 16) for column in (1, 2)]
            if ports == [server.port, own]:
                return next(pid for pid in descendants(server.process.pid) if _holds(pid, f"socket:[{fields[9]}]"))
        raise AssertionError("no process has the other end of this connection")

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        self._http.request(method, urllib.parse.quote(path), body=body or None, headers=headers)
        answer = self._http.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def change(self, method: str, path: str, body: bytes = b"", **headers: str) -> dict[str, str]:
        status, fields, text = self.request(method, path, body, **headers)
        assert status in (201, 204, 207), (method, path, status, text)
        return fields

    def move(self, source: str, target: str) -> None:
        self.change("MOVE", source, Destination=self._base + urllib.parse.quote(target), Overwrite="T")

    def propfind(self, path: str, depth: str) -> Seen | None:
        status, _, text = self.request("PROPFIND", path, NAMED, Depth=depth)
        if status == 404:
            return None
        assert status == 207, (status, text)
        seen = Seen()
        for response in ElementTree.fromstring(text).iter(f"{DAV}response"):
            length = response.findtext(f".//{DAV}getcontentlength")
            seen[urllib.parse.unquote(response.findtext(f"{DAV}href", ""))] = (
                int(length) if length else None, response.findtext(f".//{DAV}getetag") or None,
                response.findtext(".//{c:}colour") or None)
        return seen

    def close(self) -> None:
        self._http.close()


def _holds(pid: int, link: str) -> bool:
    try:
        return any(str(each.readlink()) == link for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def two_workers(server: Served) -> tuple[Connection, Connection]:
    """A connection to each of two workers."""
    found: dict[int, Connection] = {}
    for _ in range(CONNECTIONS):
        connection = Connection(server)
        if found.setdefault(connection.worker, connection) is not connection:
            connection.close()
        if len(found) == 2:
            one, other = found.values()
            return one, other
    raise AssertionError(f"{CONNECTIONS} connections all came to {list(found)}")


class Expected:
    """The folder /d as every worker must show it: bytes of files, None for folders, and colours."""

    def __init__(self) -> None:
        self.members: dict[str, bytes | None] = {}
        self.gone: set[str] = set()
        self.colours: dict[str, str] = {}

    def remove(self, path: str) -> None:
        del self.members[path]
        self.colours.pop(path, None)
        self.gone.add(path)

    def add(self, path: str, body: bytes | None) -> None:
        self.members[path] = body
        self.gone.discard(path)

    def check(self, connection: Connection) -> None:
        listed = connection.propfind("/d/", "1")
        assert listed is not None
        names = {path + ("/" if body is None else "") for path, body in self.members.items()}
        assert set(listed) == {"/d/", *names}
        for path, body in self.members.items():
            if body is None:
                single = connection.propfind(path + "/", "0")
                assert single is not None and single[path + "/"] == listed[path + "/"] == (
                    None, None, self.colours.get(path))
            else:
                self._check_file(connection, path, body, listed)
        for path in self.gone:
            assert connection.request("GET", path)[0] == connection.request("HEAD", path)[0] == 404
            assert connection.propfind(path, "0") is None

    def _check_file(self, connection: Connection, path: str, body: bytes, listed: Seen) -> None:
        status, fields, found = connection.request("GET", path)
        assert (status, found, fields["content-length"]) == (200, body, str(len(body)))
        status, about, _ = connection.request("HEAD", path)
        assert (status, about["etag"], about["content-length"]) == (200, fields["etag"], str(len(body)))
        single = connection.propfind(path, "0")
        assert single is not None
        assert single[path] == listed[path] == (len(body), fields["etag"], self.colours.get(path))
        status, _, found = connection.request("GET", path, **{"If-None-Match": fields["etag"]})
        assert (status, found) == (304, b"")


def _put(to: Connection, expected: Expected, choice: random.Random) -> None:
    path = f"/d/file {choice.randrange(4)}.txt"
    if expected.members.get(path, b"") is None:
        return
    body = choice.randbytes(choice.choice([0, 10, 5000, 40_000, 100_000]))
    fields = to.change("PUT", path, body)
    assert to.request("HEAD", path)[1]["etag"] == fields["etag"]
    expected.add(path, body)


def _delete(to: Connection, expected: Expected, choice: random.Random) -> None:
    if expected.members:
        path = choice.choice(sorted(expected.members))
        to.change("DELETE", path)
        expected.remove(path)


def _move(to: Connection, expected: Expected, choice: random.Random) -> None:
    if not expected.members:
        return
    path, target = choice.choice(sorted(expected.members)), f"/d/moved {choice.randrange(3)}"
    if path == target:
        return
    body, colour = expected.members[path], expected.colours.get(path)
    to.move(path, target)
    expected.remove(path)
    expected.add(target, body)
    expected.colours.pop(target, None)
    if colour is not None:
        expected.colours[target] = colour


def _colour(to: Connection, expected: Expected, choice: random.Random) -> None:
    if not expected.members:
        return
    path, colour = choice.choice(sorted(expected.members)), f"colour {choice.randrange(1000)}"
    to.change("PROPPATCH", path, (
        '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><c:colour xmlns:c="c:">'
        f"{colour}</c:colour></D:prop></D:set></D:propertyupdate>").encode())
    expected.colours[path] = colour


def _make_folder(to: Connection, expected: Expected, choice: random.Random) -> None:
    path = f"/d/folder {choice.randrange(3)}"
    if path not in expected.members:
        to.change("MKCOL", path)
        expected.add(path, None)


CHANGES = (_put, _put, _delete, _move, _colour, _make_folder)


@pytest.fixture(params=["quiet engine", "busy engine"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "store").mkdir()
    delay = "3600" if request.param == "quiet engine" else "0"
    with served(str(tmp_path / "store"), "--workers", "2", "--upload-delay", delay, "--revalidate-after", "3600",
                state=tmp_path / "state") as server:
        yield server


def test_what_one_worker_acknowledged_the_other_shows(server: Served) -> None:
    one, other = two_workers(server)
    choice, expected = random.Random(1), Expected()
    one.change("MKCOL", "/d")
    for number in range(60):
        writer, reader = (one, other) if choice.random() < 0.5 else (other, one)
        expected.check(reader)  # so that it has all of it at hand
        choice.choice(CHANGES)(writer, expected, choice)
        try:
            expected.check(reader)
        except AssertionError as error:
            raise AssertionError(f"after change {number}: {error}\n{server.logs()}") from error
        expected.check(writer)
    one.close()
    other.close()


def test_both_workers_see_what_changed_in_the_store_once_the_window_has_passed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "d").mkdir(parents=True)
    (store / "d" / "kept.txt").write_bytes(b"old")
    (store / "d" / "gone.txt").write_bytes(b"old")
    window = 1.0
    with served(str(store), "--workers", "2", "--revalidate-after", str(window), state=tmp_path / "state") as server:
        workers = two_workers(server)
        expected = Expected()
        for number in range(3):
            for path in ("/d/kept.txt", "/d/gone.txt", f"/d/new {number}.txt"):
                expected.add(path, b"number %d" % number)
                (store / path[1:]).write_bytes(b"number %d" % number)
            _await_window(window)
            for worker in workers:
                expected.check(worker)
            (store / "d" / "gone.txt").unlink()
            expected.remove("/d/gone.txt")
            _await_window(window)
            for worker in reversed(workers):
                expected.check(worker)
        for worker in workers:
            worker.close()


def _await_window(seconds: float) -> None:
    """Every listing that began before this call is too old when it returns."""
    end = time.time() + seconds
    while (left := end - time.time()) > -0.01:
        time.sleep(left + 0.02)
