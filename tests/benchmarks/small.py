"""Small requests, many of them."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.benchmarks.data import SMALL, SMALL_FILES
from tests.benchmarks.site import Site, Task
from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask, Outcome, Work

_PUT_NAMES = 1000
_RANGE = 64 << 10
_RANGES = 64

Prepare = Callable[[Site], Task]


def get(connections: int) -> Prepare:
    """GET of a hundred files in turn."""
    def prepare(site: Site) -> Task:
        work = _checked_files(site, connections)
        return Task(lambda: site.drive(site.url, work, site.seconds))
    return prepare


def get_beside_idle(connections: int, idle: int) -> Prepare:
    """GET while many more connections are open; they must still answer afterwards."""
    def prepare(site: Site) -> Task:
        work = _checked_files(site, connections)
        return Task(lambda: _beside_idle(site, work, idle))
    return prepare


def head(connections: int) -> Prepare:
    """HEAD of a hundred files in turn."""
    def prepare(site: Site) -> Task:
        asks = tuple(Ask("HEAD", ask.path) for ask in _checked_files(site, connections).ring)
        work = Work(asks, frozenset((200,)), 0, connections)
        return Task(lambda: site.exact(site.url, work, site.seconds))
    return prepare


def ranges(connections: int) -> Prepare:
    """64 KiB from places all over the large file."""
    def prepare(site: Site) -> Task:
        step = (site.scale.big - _RANGE) // _RANGES
        starts = [number * step + number * 37 % 4096 for number in range(_RANGES)]
        asks = tuple(Ask("GET", "/big.bin", (("Range", f"bytes={at}-{at + _RANGE - 1}"),)) for at in starts)
        with (site.files / "big.bin").open("rb") as big:
            for at, ask in zip(starts, asks, strict=True):
                big.seek(at)
                if site.look(ask, 206) != big.read(_RANGE):
                    raise AnswerError(f"other bytes at {at} of big.bin")
        work = Work(asks, frozenset((206,)), _RANGE, connections)
        return Task(lambda: site.drive(site.url, work, site.seconds))
    return prepare


def put(connections: int) -> Prepare:
    """PUT to a thousand names in turn: new ones first, then again and again."""
    def prepare(site: Site) -> Task:
        body = os.urandom(SMALL)
        asks = tuple(Ask("PUT", f"/put/{number:04}.bin", body=body) for number in range(_PUT_NAMES))
        site.look(asks[0], 200, 201, 204)
        work = Work(asks, frozenset((200, 201, 204)), None, connections)

        def check() -> None:
            if site.look(Ask("GET", asks[0].path), 200) != body:
                raise AnswerError("what was put is not what is there")
        return Task(lambda: site.drive(site.url, work, site.seconds), check)
    return prepare


def _checked_files(site: Site, connections: int) -> Work:
    """GET of all small files, each asked for once and compared."""
    asks = tuple(Ask("GET", f"/small/{number:04}.bin") for number in range(SMALL_FILES))
    for ask in asks:
        if site.look(ask, 200) != (site.files / ask.path[1:]).read_bytes():
            raise AnswerError(f"{ask.path} has other bytes")
    return Work(asks, frozenset((200,)), SMALL, connections)


def _beside_idle(site: Site, work: Work, idle: int) -> Outcome:
    waiting = [Client(site.url, buffer=8192) for _ in range(idle)]
    try:
        request = work.ring[0].wire(waiting[0].host)
        opened = sum(_answers(client, request) for client in waiting)
        outcome = site.drive(site.url, work, site.seconds)
        kept = sum(_answers(client, request) for client in waiting)
    finally:
        for client in waiting:
            client.close()
    if (opened, kept) != (idle, idle):
        outcome.notes.append(f"of {idle} idle connections {opened} were served and {kept} kept")
    return outcome


def _answers(client: Client, request: bytes) -> bool:
    try:
        client.send(request)
        return client.receive() == (200, SMALL)
    except (OSError, AnswerError):
        return False
