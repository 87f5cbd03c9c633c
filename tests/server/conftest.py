from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from davfusion.server import ServerSettings, serve
from tests.server.app import ProbeApp
from tests.server.wire import Wire


@dataclass
class Running:
    """A server of this test, in a thread of its own."""

    address: tuple[str, int]
    url: str
    app: Any
    stop: threading.Event
    thread: threading.Thread

    def connect(self, **options: Any) -> Wire:
        return Wire(self.address, **options)

    def ask(self, request: bytes, **options: Any):
        with self.connect() as wire:
            return wire.ask(request, **options)

    def end(self, timeout: float = 10.0) -> None:
        self.stop.set()
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the server did not stop"


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers: `start(app, setting=value, ...)`; they are stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start_one(app: Any = None, *, listener: Any = None, reload_tls: Any = None, **settings: Any) -> Running:
            app = app or ProbeApp()
            stop, up, url = threading.Event(), threading.Event(), []

            def ready(address: str) -> None:
                url.append(address)
                up.set()

            thread = threading.Thread(
                target=serve,
                args=(app, ServerSettings(**{"port": 0, "threads": 8, "linger_timeout": 0.5, **settings})),
                kwargs={"ready": ready, "stop": stop, "listener": listener, "reload_tls": reload_tls},
            )
            thread.start()
            assert up.wait(10), "the server did not start"
            parts = urlsplit(url[0])
            running = Running((parts.hostname, parts.port), url[0], app, stop, thread)
            stack.callback(running.end)
            return running

        yield start_one


@pytest.fixture
def server(start: Start) -> Running:
    return start()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def until(condition, *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
