"""A client that asks again at once is awaited with open eyes, and nobody else."""

from __future__ import annotations

import time

import pytest

from davfusion.server.eagerness import EagerWait
from tests.server.conftest import Start

REQUEST = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


class Clients:
    """What descriptors say, each after some seconds; waiting takes the time that it would take."""

    def __init__(self, *events: tuple[float, list[int]]) -> None:
        self.time = 1000.0
        self.slept = 0
        self.looked = 0
        self._events = list(events)
        self._since = self.time

    def wait(self, seconds: float | None) -> list[int]:
        self.time += 0.000001
        if seconds == 0:
            self.looked += 1
        else:
            self.slept += 1
            self.time = max(self.time, self._since + self._events[0][0])
        if self.time < self._since + self._events[0][0]:
            return []
        self._since = self.time
        return self._events.pop(0)[1]

    def clock(self) -> float:
        return self.time


def all_of(clients: Clients, count: int, *, cores: int = 2) -> list[list[int]]:
    eager = EagerWait(clients.wait, clock=clients.clock, cores=cores)
    return [eager.wait(5) for _ in range(count)]


def test_one_that_asks_again_at_once_is_soon_awaited_without_sleep() -> None:
    clients = Clients(*[(0.0001, [7])] * 100)
    assert all_of(clients, 100) == [[7]] * 100
    assert clients.slept < 10
    assert clients.looked > 90


@pytest.mark.parametrize("events", [
    [(0.001, [7])] * 100,
    [(0.0001, [7]), (0.0001, [8])] * 50,
    [(0.0001, [7, 8])] * 100,
    [(0.0001, [])] * 100,
], ids=["a slow one", "two in turn", "two at once", "nobody"])
def test_nobody_else_is(events: list[tuple[float, list[int]]]) -> None:
    clients = Clients(*events)
    assert all_of(clients, 100) == [descriptors for _, descriptors in events]
    assert (clients.slept, clients.looked) == (100, 0)


def test_one_that_asks_again_at_once_is_not_forgotten_when_another_speaks_at_times() -> None:
    clients = Clients(*([(0.0001, [7])] * 20 + [(0.0001, [8])]) * 20)
    all_of(clients, 420)
    assert clients.slept < 20


def test_nobody_is_on_a_single_core() -> None:
    clients = Clients(*[(0.0001, [7])] * 100)
    all_of(clients, 100, cores=1)
    assert (clients.slept, clients.looked) == (100, 0)


def test_who_does_not_come_is_not_awaited_for_long() -> None:
    clients = Clients(*[(0.0001, [7])] * 50, *[(1.0, [7])] * 50)
    assert all_of(clients, 100) == [[7]] * 100
    assert 50 <= clients.slept < 60
    assert clients.looked < 50 * 110 + 250


def test_a_server_that_was_asked_eagerly_rests_afterwards(start: Start) -> None:
    server = start()
    with server.connect() as wire:
        for _ in range(300):
            assert wire.ask(REQUEST).status == 200
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.1
        assert wire.ask(REQUEST).status == 200
