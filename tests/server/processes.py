"""Processes for tests that measure: `python -m tests.server.processes serve` and `... crawl PORT COUNT`.

Each prints one line when it is ready and ends when its input ends.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from davfusion.server import ServerSettings, serve
from tests.server.app import ProbeApp
from tests.server.wire import Wire

HEAD = b"GET /ok HTTP/1.1\r\nHost: x\r\nX-Slow: "
BODY = b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[str]:
    """Run one of these processes; its first line."""
    command = [sys.executable, "-m", "tests.server.processes", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def run_server() -> None:
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

    def ready(url: str) -> None:
        print(url.rsplit(":", 1)[1].strip("/"), flush=True)

    serve(ProbeApp(), ServerSettings(port=0, head_timeout=600, io_timeout=600, min_rate=0), ready=ready, stop=stop)


def crawl(port: int, count: int) -> None:
    """Send one byte a second on each of `count` connections: half of them in heads, half in bodies."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(("127.0.0.1", port))) for _ in range(count)]
        for number, wire in enumerate(wires):
            wire.send(BODY if number % 2 else HEAD)
        print("ready", flush=True)
        began = time.monotonic()
        for sent, wire in enumerate(itertools.cycle(wires)):
            wait = max(began + sent / count - time.monotonic(), 0)
            if select.select([sys.stdin], [], [], wait)[0]:
                return
            wire.send(b"a")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        run_server()
    else:
        crawl(int(sys.argv[2]), int(sys.argv[3]))
