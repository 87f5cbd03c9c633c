"""A davfusion in one process: for stores in memory, and where processes cannot share a socket."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from davfusion.processes.application import open_application
from davfusion.processes.engine import carry, make_engines
from davfusion.processes.front import serve_until
from davfusion.processes.opening import bring_in_order, note_clean_stops, open_shares
from davfusion.processes.supervising import announce
from davfusion.processes.terminal import Terminal
from davfusion.settings import Config
from davfusion.state import StateLock


def run(config: Config, state: Path, sockets: Sequence[socket.socket], lock: StateLock, *,  # noqa: ARG001
        announcement: str, verbose: bool) -> int:  # noqa: ARG001
    """Run until SIGTERM or SIGINT; the exit code. The lock is held by the caller."""
    stop, stop_engines = threading.Event(), threading.Event()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    reload = threading.Event()
    if hasattr(signal, "SIGHUP"):
        terminal = Terminal()
        signal.signal(signal.SIGHUP, lambda _number, _frame: (stop if terminal.is_gone() else reload).set())
    failures: list[BaseException] = []
    bring_in_order(config, state)
    _run(config, state, sockets[0], stop, stop_engines, failures, lambda: announce(announcement), reload)
    note_clean_stops(config, state)
    if failures:
        raise failures[0]
    return 0


def _run(config: Config, state: Path, listening: socket.socket, stop: threading.Event, stop_engines: threading.Event,
         failures: list[BaseException], announce: Callable[[], None], reload: threading.Event) -> None:
    shares = open_shares(config, state)

    def carry_on() -> None:
        try:
            carry(make_engines(shares), stop_engines)
        except BaseException as error:
            failures.append(error)
            stop.set()

    engines = threading.Thread(target=carry_on, name="engines")
    engines.start()
    try:
        serve_until(stop, open_application(config, shares), config, listening, ready=announce, reload=reload)
    finally:
        stop_engines.set()
        engines.join()
        for opened in shares:
            opened.close()
