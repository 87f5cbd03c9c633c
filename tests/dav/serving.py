"""A share over HTTP in a process of its own, and the bytes on the wire."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit


@contextlib.contextmanager
def served(app: str, server: str, state: Path, *store: str) -> Iterator[str]:
    """The URL of a server that runs until the end of the block."""
    state.mkdir(parents=True, exist_ok=True)
    with (state.parent / f"{state.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.dav.server_process", app, server, str(state), *store],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                log.flush()
                raise AssertionError((state.parent / f"{state.name}.log").read_text())
            yield url
        finally:
            process.kill()
            process.communicate()


def exchange(url: str, data: bytes, *, half_close: bool = False, timeout: float = 10.0) -> bytes:
    """Send raw bytes and read what comes until the server closes or is silent after an answer."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=timeout) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                answer += piece
        return answer
