"""What is saved through the drive, until it is in the store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from tests.benchmarks.cloud.client import Puts, exchange, make_folders
from tests.benchmarks.cloud.mounts import Mount
from tests.benchmarks.cloud.tree import Tree
from tests.benchmarks.data import Scale
from tests.benchmarks.site import Task
from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask, Outcome

CONNECTIONS = 16
CHANGE = 1 << 20
"""Bytes in the middle of a large file that are changed."""
_BIG = "/big.bin"
_PIECE = 1 << 20


def save(mount: Mount, scale: Scale) -> Iterator[Task]:
    """Many small new files in several folders, from the first PUT until all are in the store."""
    for number in count():
        tree = Tree(f"/saved-{number}", *scale.saved)
        make_folders(mount.url, tree)
        mount.settle()
        puts = Puts(mount.url, tree)

        def measure(tree: Tree = tree, puts: Puts = puts) -> Outcome:
            began = time.monotonic()
            puts.send(CONNECTIONS)
            answered = time.monotonic() - began
            mount.settle(tree)
            return Outcome(len(tree.paths()), time.monotonic() - began,
                           notes=[f"the last PUT was answered after {answered:.2f} s"])

        yield Task(measure, lambda tree=tree: mount.expect_stored(tree))  # type: ignore[misc]


def change(mount: Mount, scale: Scale) -> Iterator[Task]:
    """A part of a large file in the store is changed here, and the whole file PUT again."""
    file = mount.own / "big.bin"
    with file.open("wb") as big:
        for _ in range(scale.changed // _PIECE):
            big.write(os.urandom(_PIECE))
    _put(mount, file)
    mount.settle()
    at = scale.changed // 3

    def measure() -> Outcome:
        began = time.monotonic()
        _put(mount, file)
        mount.settle()
        return Outcome(1, time.monotonic() - began, bytes=scale.changed)

    def check() -> None:
        mount.restart_cold()
        _compare(mount, file, at - 3 * CHANGE, at + 4 * CHANGE)

    while True:
        with file.open("r+b") as changed:
            changed.seek(at)
            changed.write(os.urandom(CHANGE))
        yield Task(measure, check)


def _put(mount: Mount, file: Path) -> None:
    with Client(mount.url) as client:
        head = f"PUT {_BIG} HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: {file.stat().st_size}\r\n\r\n"
        client.send_file(head.encode(), file)
        status, _ = client.receive()
    if status not in (201, 204):
        raise AnswerError(f"PUT {_BIG}: {status}")


def _compare(mount: Mount, file: Path, start: int, stop: int) -> None:
    with Client(mount.url) as client, file.open("rb") as big:
        big.seek(start)
        found = exchange(client, Ask("GET", _BIG, (("Range", f"bytes={start}-{stop - 1}"),)), 206)
        if found != big.read(stop - start):
            raise AnswerError(f"{_BIG} has other bytes in the store")
