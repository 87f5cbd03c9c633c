"""A reverse proxy that counts the requests that pass: `python -m tests.clients.counting PORT UPSTREAM_PORT FILE`.

Each request is one line `METHOD TARGET` in the file, written before it is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tests.servers import free_port, running


class RequestCount:
    """The requests that a store's server got since the last look."""

    def __init__(self, file: Path, endpoint: str) -> None:
        self._file = file
        self.endpoint = endpoint
        self._seen = 0

    def take(self) -> list[str]:
        """The requests since the last call, each `METHOD TARGET`."""
        lines = self._file.read_text().splitlines()
        new, self._seen = lines[self._seen:], len(lines)
        return new


@contextlib.contextmanager
def counted(upstream_port: int, folder: Path) -> Iterator[RequestCount]:
    """A counting proxy before a server of this machine."""
    file = folder / "requests.txt"
    file.touch()
    port = free_port()
    command = [sys.executable, "-m", "tests.clients.counting", str(port), str(upstream_port), str(file)]
    with running(command, port):
        yield RequestCount(file, f"http://127.0.0.1:{port}")


async def _pass_body(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    left = int(length[1]) if length else 0
    if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
        while (line := await reader.readline()) != b"0\r\n":
            writer.write(line + await reader.readexactly(int(line.split(b";")[0], 16) + 2))
        writer.write(b"0\r\n" + await reader.readuntil(b"\r\n"))
    while left:
        part = await reader.read(min(left, 65536))
        if not part:
            raise ConnectionError("the body ended early")
        left -= len(part)
        writer.write(part)
        await writer.drain()


async def _pass_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: BinaryIO) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        log.write(b" ".join(head.split(b" ", 2)[:2]) + b"\n")
        writer.write(head)
        await _pass_body(head, reader, writer)
        await writer.drain()


async def _pass_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _serve(port: int, upstream_port: int, log: BinaryIO) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", upstream_port)
        both = [asyncio.ensure_future(_pass_requests(reader, to_writer, log)),
                asyncio.ensure_future(_pass_answers(to_reader, writer))]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        to_writer.close()
        writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", port, limit=2**20)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[3]).open("ab", buffering=0) as requests_file:
        asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), requests_file))
