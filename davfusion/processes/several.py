"""A davfusion as a supervisor, one engine and several front workers."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from davfusion.config import Config
from davfusion.processes.handover import Handover
from davfusion.processes.opening import in_order
from davfusion.processes.supervisor import ChildSpec, Supervisor
from davfusion.state import StateLock


def run(config: Config, state: Path, sockets: Sequence[socket.socket], lock: StateLock, *,
        announce: Callable[[], None], verbose: bool) -> int:
    """Run until SIGTERM or SIGINT; the exit code. The children share the lock on the state directory."""
    cores = _cores()
    fronts = [
        _child(f"front-{number}", "front", lock, Handover(
            config, state, verbose, listening=listening.fileno(),
            core=cores[number % len(cores)] if cores else None))
        for number, listening in enumerate(sockets)]
    engine = _child("engine", "engine", lock, Handover(config, state, verbose))
    with in_order(config, state):
        return Supervisor([fronts, [engine]], ready=announce, passes_hangup=config.tls_cert is not None).run()


def _child(name: str, module: str, lock: StateLock, handover: Handover) -> ChildSpec:
    sockets = () if handover.listening is None else (handover.listening,)
    return ChildSpec(
        name=name, argv=(sys.executable, "-m", f"davfusion.processes.{module}"), handover=handover.to_line(),
        inherited=(lock.fileno(), *sockets))


def _cores() -> list[int]:
    """The cores this process may use, where a process can be bound to one.

    A front is one interpreter: on one core its threads hand over the interpreter lock cheaply.
    """
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
