"""The connection ends at every 64 KiB of a PUT: the old file is intact, no new one appears, nothing stays behind."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.serving import Served, await_true, served
from tests.clients.webdav import Client

STEP = 64 * 1024
BODY = random.Random(1).randbytes(16 * STEP)
OLD = b"the old file" * 1000
CUTS = [*range(0, len(BODY), STEP), len(BODY) - 1]
CHUNK = 16 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("cut")
    (folder / "store").mkdir()
    with served(str(folder / "store"), "--upload-delay", "0", state=folder / "state") as server:
        yield server


def files_of(state: Path) -> set[str]:
    """What lies in the state directory, apart from SQLite's passing files."""
    return {str(path.relative_to(state)) for path in state.rglob("*")
            if path.is_file() and not path.name.endswith(("-wal", "-shm", "-journal"))}


def cut_put(port: int, path: str, after: int, *, chunked: bool, reset: bool) -> bytes:
    """Send the head and the first bytes of the body, then end the connection; what the server still said."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(BODY)}"
    head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{framing}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head)
        if chunked:
            for start in range(0, after, CHUNK):
                piece = BODY[start:min(start + CHUNK, after)]
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            connection.sendall(BODY[:after])
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
        return answer


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_cut_upload_changes_nothing(server: Served, chunked: bool, reset: bool) -> None:
    client = Client(server.url)
    folder = f"/cut-{chunked}-{reset}"
    assert client.request("MKCOL", folder).status_code == 201
    old = client.put(f"{folder}/old.bin", OLD)
    assert old.status_code == 201
    server.sync()
    before = files_of(server.state)
    for after in CUTS:
        for name in ("old.bin", "new.bin"):
            answer = cut_put(server.port, f"{folder}/{name}", after, chunked=chunked, reset=reset)
            assert b" 201 " not in answer[:20], f"cut after {after} bytes: {answer[:200]!r}"
            assert b" 204 " not in answer[:20], f"cut after {after} bytes: {answer[:200]!r}"
        assert client.get(f"{folder}/new.bin").status_code == 404
        kept = client.get(f"{folder}/old.bin")
        assert (kept.status_code, kept.content, kept.headers["ETag"]) == (200, OLD, old.headers["ETag"])
        assert [entry.path for entry in client.list(folder)] == [f"{folder}/old.bin"]
    await_true(lambda: files_of(server.state) == before, 10, "no temporary file stays")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_the_whole_body_arrives(server: Served, chunked: bool) -> None:
    """The tool above is no trick: uncut, the same bytes make the file."""
    client = Client(server.url)
    body = (BODY[start:start + CHUNK] for start in range(0, len(BODY), CHUNK)) if chunked else BODY
    assert client.request("PUT", f"/whole-{chunked}.bin", data=body).status_code == 201
    assert client.get(f"/whole-{chunked}.bin").content == BODY


def test_a_malformed_chunk_changes_nothing(server: Served) -> None:
    client = Client(server.url)
    assert client.put("/malformed.bin", OLD).status_code in (201, 204)
    request = (b"PUT /malformed.bin HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"5\r\nhello\r\n0x5\r\nworld\r\n0\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert client.get("/malformed.bin").content == OLD
