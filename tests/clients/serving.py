"""`davfusion serve` as a real process, for tests that come in through its front door.

    with served("memory://") as server:
        requests.get(server.url)
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

READY = re.compile(r"^davfusion serves .* at (https?://\S+/)$")
START_TIMEOUT = 30.0
COMMAND = (sys.executable, "-m", "davfusion")


@dataclass
class Served:
    """A running server: its address, its state directory and its process group."""

    url: str
    port: int
    state: Path
    process: subprocess.Popen[str]
    log: Path
    environ: dict[str, str]
    started_in: float
    """Seconds from exec to the ready line."""

    def kill(self) -> None:
        """SIGKILL to the whole process group, as a crash of the machine would do, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM to the supervisor; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def davfusion(self, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run another command of davfusion on the same state directory."""
        command = [*COMMAND, arguments[0], "--state", str(self.state), *arguments[1:]]
        return subprocess.run(
            command, env=self.environ, text=True, capture_output=True, timeout=timeout, check=False)

    def sync(self, timeout: float = 120.0) -> None:
        """Return when everything has reached the store; fail with the logs otherwise."""
        done = self.davfusion("sync", "--wait", "--timeout", str(timeout), timeout=timeout + 30)
        if done.returncode != 0:
            raise AssertionError(f"sync: {done.returncode}: {done.stdout}{done.stderr}\n{self.logs()}")

    def logs(self) -> str:
        return self.log.read_text(errors="replace")[-20_000:]


@contextlib.contextmanager
def served(store: str | None, *options: str, state: Path, environ: Mapping[str, str] | None = None,
           port: int = 0) -> Iterator[Served]:
    """A server from when it is ready until the end of the block; then its process group is killed."""
    server = start(store, *options, state=state, environ=environ, port=port)
    try:
        yield server
    finally:
        server.kill()


def start(store: str | None, *options: str, state: Path, environ: Mapping[str, str] | None = None,
          port: int = 0) -> Served:
    """Start a server and wait until it says that it is ready."""
    state.mkdir(parents=True, exist_ok=True)
    log = state.with_name(state.name + ".log")
    full = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", **(environ or {})}
    command = [*COMMAND, "serve", *([store] if store else []), "--port", str(port), "--state", str(state),
               *options]
    began = time.monotonic()
    with log.open("a") as errors:
        process = subprocess.Popen(command, env=full, stdout=subprocess.PIPE, stderr=errors, text=True,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        url = _ready_address(process, began + START_TIMEOUT)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise AssertionError(f"{error}; its log:\n{log.read_text(errors='replace')[-5000:]}") from error
    return Served(
        url=url, port=int(url.rstrip("/").rpartition(":")[2]), state=state, process=process, log=log,
        environ=full, started_in=time.monotonic() - began)


def _ready_address(process: subprocess.Popen[str], deadline: float) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(deadline - time.monotonic()):
            raise TimeoutError("davfusion did not become ready")
    line = process.stdout.readline().rstrip("\n")
    match = READY.match(line)
    if match is None:
        raise RuntimeError(f"unexpected line {line!r}" if line else f"davfusion ended with {process.wait(10)}")
    return match[1]


def await_true(condition, timeout: float, what: str) -> None:
    """Poll a condition until it holds; fail at the deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


def session() -> requests.Session:
    """A client that ignores the proxies of the environment."""
    client = requests.Session()
    client.trust_env = False
    return client
