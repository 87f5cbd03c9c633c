"""The order of work: due nodes, who waits for whom, what cannot be carried now."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from davfusion.cache.index import Durability, Index
from davfusion.sync.queue import LONGEST_SLEEP, RECHECK, WorkQueue

START = 1_000_000.0


class Bench:
    """A queue over an index whose nodes a test makes."""

    def __init__(self, path: Path) -> None:
        self.now = START
        self.index = Index(path, durability=Durability.PROCESS_SAFE, clock=lambda: self.now)
        self.queue = WorkQueue(self.index, lambda: self.now)
        self._names = 0

    def nodes(self, count: int, due: float = START, **columns: object) -> list[int]:
        """New dirty files."""
        def change(view):  # type: ignore[no-untyped-def]
            made = []
            for _ in range(count):
                self._names += 1
                made.append(view.nodes.insert(folder=0, parent=1, name=f"n{self._names}", modified=0, created=0,
                                              due=due, **columns))
            return made
        return self.index.write(change)

    def clean(self, count: int) -> list[int]:
        """New files that are in the store as they are here."""
        made = self.nodes(count)
        self.index.write(lambda view: [view.nodes.update(
            node, synced_parent=1, synced_folder="", synced_name=view.nodes.get(node).local_name) for node in made])
        return made

    def update(self, node: int, **columns: object) -> None:
        self.index.write(lambda view: view.nodes.update(node, **columns))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "index.db")
    yield made
    made.index.close()


def test_what_is_due_comes_longest_due_first_and_once(bench: Bench) -> None:
    late, = bench.nodes(1, due=START - 1)
    early, = bench.nodes(1, due=START - 5)
    bench.nodes(1, due=START + 1)
    assert bench.queue.next(10) == [early, late]
    assert bench.queue.next(10) == []


def test_no_more_than_asked_for(bench: Bench) -> None:
    made = bench.nodes(10)
    assert bench.queue.next(0) == []
    assert len(bench.queue.next(3)) == 3
    assert len(bench.queue.next(100)) == 7
    assert bench.queue.active == set(made)


def test_parked_nodes_are_not_carried(bench: Bench) -> None:
    bench.nodes(1, parked=1)
    assert bench.queue.next(10) == []


def test_a_node_changed_since_it_was_read_ahead_keeps_its_new_time(bench: Bench) -> None:
    first, second = bench.nodes(2)
    assert bench.queue.next(1) == [first]
    bench.update(second, due=START + 5)
    assert bench.queue.next(1) == []
    bench.now += 5
    assert bench.queue.next(1) == [second]


def test_a_step_that_ended_is_followed_by_the_next_at_once(bench: Bench) -> None:
    node, = bench.nodes(1)
    bench.queue.next(1)
    bench.queue.again(node)
    assert bench.queue.next(1) == [node]


def test_a_node_changed_during_its_step_waits_for_its_new_time(bench: Bench) -> None:
    node, = bench.nodes(1)
    bench.queue.next(1)
    bench.update(node, due=START + 5)
    bench.queue.again(node)
    assert bench.queue.next(1) == []
    bench.now += 5
    assert bench.queue.next(1) == [node]


def test_who_waits_comes_back_when_all_it_waits_for_has_ended(bench: Bench) -> None:
    waiter, = bench.nodes(1)
    others = bench.clean(3)
    bench.queue.next(1)
    bench.queue.wait(waiter, tuple(others))
    assert sorted(bench.queue.next(10)) == others
    bench.queue.ended(others[0])
    bench.queue.ended(others[1])
    assert bench.queue.next(10) == []
    bench.queue.ended(others[2])
    assert bench.queue.next(10) == [waiter]


def test_waiting_for_nobody_in_particular_is_looked_at_again_a_little_later(bench: Bench) -> None:
    waiter, = bench.nodes(1)
    bench.queue.next(1)
    bench.queue.wait(waiter, ())
    assert bench.queue.next(1) == []
    bench.now += RECHECK
    assert bench.queue.next(1) == [waiter]


def test_a_circle_is_found_and_told_once(bench: Bench) -> None:
    a, b, c = bench.nodes(3)
    bench.queue.next(3)
    bench.queue.wait(a, (b,))
    bench.queue.wait(b, (c,))
    bench.queue.wait(c, (a,))
    assert bench.queue.next(3) == [c]
    assert bench.queue.is_deadlocked(c)
    assert not bench.queue.is_deadlocked(c)
    bench.update(c, parked=1)
    bench.queue.ended(c)
    assert bench.queue.next(3) == [b]
    assert not bench.queue.is_deadlocked(b)


def test_a_circle_that_cannot_be_broken_is_not_tried_without_a_pause(bench: Bench) -> None:
    a, b = bench.nodes(2)
    bench.queue.next(2)
    bench.queue.wait(a, (b,))
    bench.queue.wait(b, (a,))
    rounds = 0
    while nodes := bench.queue.next(1):
        rounds += 1
        assert rounds < 10, "it is tried for ever"
        bench.queue.is_deadlocked(nodes[0])
        bench.queue.wait(nodes[0], (a if nodes[0] == b else b,))
    bench.now += LONGEST_SLEEP
    assert bench.queue.next(1)


def test_each_member_of_a_circle_may_try_to_break_it(bench: Bench) -> None:
    nodes = bench.nodes(3)
    bench.queue.next(3)
    for node, other in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        bench.queue.wait(node, (other,))
    tried = set()
    while chosen := bench.queue.next(1):
        node = chosen[0]
        if bench.queue.is_deadlocked(node):
            assert node not in tried
            tried.add(node)
        bench.queue.wait(node, (nodes[(nodes.index(node) + 1) % 3],))
    assert tried == set(nodes)


def test_all_that_wait_for_who_waits_for_them_may_try(bench: Bench) -> None:
    """Two files wait for their folder, until it is to be deleted: then it waits for both, and nobody for the clock."""
    folder, one, other = bench.nodes(3)
    assert set(bench.queue.next(10)) == {folder, one, other}
    bench.queue.wait(one, (folder,))
    bench.queue.wait(other, (folder,))
    for node in range(2):
        bench.queue.wait(folder, (one, other))
        if node == 0:
            assert bench.queue.next(1) == [folder] and bench.queue.is_deadlocked(folder)
    assert set(bench.queue.next(10)) == {one, other}
    for node in (one, other):
        assert bench.queue.is_deadlocked(node)
        bench.update(node, parked=1)
        bench.queue.ended(node)
    assert bench.queue.next(10) == [folder]


def carried(bench: Bench, waits: dict[int, set[int]], done: set[int], seconds: float) -> int:
    """Carry nodes for some seconds, each of which ends once all that it waits for has; how many steps were taken."""
    steps, until = 0, bench.now + seconds
    while bench.now < until and len(done) < len(waits):
        chosen = bench.queue.next(3)
        for node in chosen:
            steps += 1
            bench.queue.is_deadlocked(node)
            awaited = waits[node] - done
            if awaited:
                bench.queue.wait(node, tuple(awaited))
                continue
            done.add(node)
            bench.update(node, parked=1)
            bench.queue.ended(node)
        if not chosen:
            bench.now += RECHECK / 4
        assert steps < 100 * len(waits) * max(seconds, 1), "somebody is tried for ever"
    return steps


@pytest.mark.parametrize("seed", range(60))
def test_circles_that_open_are_left(bench: Bench, seed: int) -> None:
    """Whoever waited for whom before: when nobody waits in circles any more, all end."""
    choice = random.Random(seed)
    nodes = bench.nodes(choice.randrange(2, 9))
    done: set[int] = set()
    for _ in range(choice.randrange(1, 4)):
        waits = {node: set(choice.sample(nodes, choice.randrange(1, len(nodes)))) - {node} for node in nodes}
        carried(bench, waits, done, choice.random() * 3)
    carried(bench, {node: set(nodes[:number][-2:]) for number, node in enumerate(nodes)}, done, 2 * LONGEST_SLEEP)
    assert done == set(nodes)


def test_a_folder_that_hundreds_wait_for_and_that_waits_for_them_costs_little(bench: Bench) -> None:
    folder, *members = nodes = bench.nodes(401)
    waits = {folder: set(members)} | {member: {folder} for member in members}
    done: set[int] = set()
    assert carried(bench, waits, done, 60) < 60 * len(nodes)
    waits |= {member: set() for member in members}
    carried(bench, waits, done, 2 * LONGEST_SLEEP)
    assert done == set(nodes)


def test_waiting_for_oneself_is_no_circle(bench: Bench) -> None:
    node, = bench.nodes(1)
    bench.queue.next(1)
    bench.queue.wait(node, (node,))
    assert bench.queue.next(1) == []


@pytest.mark.parametrize("held", [{"due": START + 20}, {"due": START + 20, "attempts": 3}])
def test_who_waits_for_what_is_due_later_sleeps_until_then(bench: Bench, held: dict[str, float]) -> None:
    waiter, = bench.nodes(1)
    other, = bench.nodes(1)
    bench.queue.next(2)
    bench.update(other, **held)
    bench.queue.ended(other)
    bench.queue.wait(waiter, (other,))
    bench.now += 19
    assert bench.queue.next(2) == []
    bench.now += 1
    assert set(bench.queue.next(2)) == {waiter, other}


def test_who_waits_for_a_parked_node_is_woken_when_that_is_done(bench: Bench) -> None:
    waiter, parked = bench.nodes(2)
    bench.update(parked, parked=1)
    assert bench.queue.next(2) == [waiter]
    bench.queue.wait(waiter, (parked,))
    assert bench.queue.next(2) == []
    bench.update(parked, parked=0)
    assert bench.queue.next(2) == [parked]
    bench.update(parked, due=START + 100)
    bench.queue.ended(parked)
    assert bench.queue.next(2) == [waiter]


def test_what_is_put_off_comes_back_though_it_is_not_dirty(bench: Bench) -> None:
    folder, = bench.nodes(1)
    piece, = bench.clean(1)
    bench.queue.next(1)
    bench.queue.wait(folder, (piece,))
    assert bench.queue.next(1) == [piece]
    bench.queue.defer(piece, START + 3)
    assert bench.queue.next(1) == []
    bench.now += 3
    assert bench.queue.next(1) == [piece]
    bench.queue.ended(piece)
    assert bench.queue.next(1) == [folder]


def test_what_is_put_off_comes_back_at_once_when_asked(bench: Bench) -> None:
    waiter, = bench.nodes(1)
    piece, = bench.clean(1)
    bench.queue.next(1)
    bench.queue.wait(waiter, (piece,))
    bench.queue.next(1)
    bench.queue.defer(piece, START + 300)
    bench.queue.look_again()
    assert piece in bench.queue.next(2)


def test_thousands_that_wait_do_not_hide_one_that_is_ready(bench: Bench) -> None:
    parent, = bench.nodes(1, due=START + 10)
    waiting = bench.nodes(5000)
    ready, = bench.nodes(1, due=START)
    seen = set()
    while nodes := bench.queue.next(16):
        for node in nodes:
            seen.add(node)
            if node in waiting:
                bench.queue.wait(node, (parent,))
            else:
                bench.queue.ended(node)
                bench.update(node, parked=1)
    assert ready in seen and len(seen) == 5001


def test_thousands_that_wait_cost_little_for_each_step_of_others(bench: Bench) -> None:
    parent, = bench.nodes(1, due=START + 10)
    waiting = set(bench.nodes(5000))
    while nodes := bench.queue.next(16):
        for node in nodes:
            bench.queue.wait(node, (parent,))
    assert parent not in waiting
    others = bench.nodes(1000)
    began, steps = time.process_time(), 0
    while nodes := bench.queue.next(1):
        steps += 1
        bench.queue.ended(nodes[0])
        bench.queue.defer(nodes[0], START + 100)
    assert steps == len(others)
    assert (time.process_time() - began) / steps < 0.002


def test_thousands_that_wake_at_once_cost_little_each(bench: Bench) -> None:
    parent, = bench.nodes(1, due=START - 10)
    bench.queue.next(1)
    waiting = bench.nodes(5000)
    while nodes := bench.queue.next(16):
        for node in nodes:
            bench.queue.wait(node, (parent,))
    bench.queue.ended(parent)
    began, woken = time.process_time(), []
    while nodes := bench.queue.next(16):
        woken += nodes
        for node in nodes:
            bench.queue.ended(node)
            bench.queue.defer(node, START + 100)
    assert woken.count(parent) == 0 or woken.count(parent) == 1
    assert set(waiting) <= set(woken)
    assert (time.process_time() - began) / 5000 < 0.001


def test_nothing_is_remembered_of_what_has_ended(bench: Bench) -> None:
    waiter, = bench.nodes(1)
    others = bench.clean(50)
    bench.queue.next(1)
    for _ in range(20):
        bench.queue.wait(waiter, tuple(others))
        for node in bench.queue.next(100):
            bench.queue.ended(node)
        assert bench.queue.next(100) == [waiter]
    bench.update(waiter, parked=1)
    bench.queue.ended(waiter)
    left = {name: value for name, value in vars(bench.queue).items() if isinstance(value, (dict, set)) and value}
    assert not left
