"""What to carry next: due nodes, nodes that others wait for, and who waits for whom."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from itertools import islice

from davfusion.cache.index import Index

RECHECK = 1.0
"""Seconds after which a node that waits for nobody in particular is looked at again."""
LONGEST_SLEEP = 30.0
"""Seconds after which a node that waits for one that cannot be carried yet is looked at again at the latest."""
READ_AHEAD = 256
"""Due nodes read at a time beyond those that are known to be occupied."""


class WorkQueue:
    """Order of work of one engine. Used by its scheduling thread alone.

    It remembers only what can be found out again: lost, the due times in the index begin it anew.
    """

    def __init__(self, index: Index, clock: Callable[[], float]) -> None:
        self._index = index
        self._clock = clock
        self._active: set[int] = set()
        self._wanted: dict[int, None] = {}
        self._ready: deque[int] = deque()
        """Nodes that were due when the index was last read."""
        self._waiting: dict[int, set[int]] = {}
        self._waiters: dict[int, set[int]] = {}
        """The same the other way round."""
        self._deferred: dict[int, float] = {}
        self._alarms: list[tuple[float, int]] = []
        """A heap of when to look at deferred nodes; what `_deferred` does not say any more is void."""
        self._deadlocked: set[int] = set()
        self._insisting: set[int] = set()
        """Nodes that are being carried as deadlocked."""
        self._in_vain: dict[int, float] = {}
        """Members of circles that could not break them, and when they may try again."""

    @property
    def active(self) -> frozenset[int]:
        """Nodes that are being carried now."""
        return frozenset(self._active)

    def want(self, node: int) -> None:
        """Carry this node whatever its due time says."""
        if node not in self._active:
            self._wanted[node] = None

    def next(self, limit: int) -> list[int]:
        """Up to `limit` nodes to carry now; they count as active from here on."""
        now = self._clock()
        self._wake_deferred(now)
        chosen = list(islice(self._wanted, limit))
        for node in chosen:
            self._take(node)
        while len(chosen) < limit and (due := self._next_due(now)) is not None:
            self._take(due)
            chosen.append(due)
        return chosen

    def is_deadlocked(self, node: int) -> bool:
        """Whether what the node waits for waits for it; asking ends it."""
        if node not in self._deadlocked:
            return False
        self._deadlocked.discard(node)
        self._insisting.add(node)
        return True

    def again(self, node: int) -> None:
        """A step of the node ended and there may be more of them; when it was changed meanwhile, once that is due."""
        self._release(node)
        if node in self._waiters or not self._is_ahead(node):
            self.want(node)

    def ended(self, node: int) -> None:
        """Nothing more is to be done for the node now; who waited for it and nobody else is looked at again."""
        self._release(node)
        self._in_vain.pop(node, None)
        for waiter in self._waiters.pop(node, ()):
            awaited = self._waiting[waiter]
            awaited.discard(node)
            if not awaited:
                del self._waiting[waiter]
                self._deferred.pop(waiter, None)
                self.want(waiter)

    def wait(self, node: int, awaited: tuple[int, ...]) -> None:
        """The node waits for others, which are to be carried first."""
        insisted = node in self._insisting
        self._release(node)
        others = {other for other in awaited if other != node}
        in_circle = {other for other in others if self._reaches(other, node)}
        if in_circle:
            self._break_circle(node, in_circle, others, insisted=insisted)
            return
        now = self._clock()
        able_at = {other: self._able_at(other, now) for other in others}
        able = {other for other in others if able_at[other] <= now}
        self._note_waiting(node, able or others)
        # Nobody sleeps for ever, even where everybody in a circle waits for the next.
        latest = now + (LONGEST_SLEEP if others else RECHECK)
        self.defer(node, latest if able else min([*able_at.values(), latest]))
        for other in able:
            if other not in self._waiting:
                self.want(other)

    def defer(self, node: int, until: float) -> None:
        """Do not carry the node before a time."""
        self._release(node)
        self._wanted.pop(node, None)
        self._deferred[node] = until
        heapq.heappush(self._alarms, (until, node))

    def look_again(self) -> None:
        """Carry what was put off as if its time had come."""
        self._deferred = dict.fromkeys(self._deferred, -math.inf)
        self._alarms = [(-math.inf, node) for node in self._deferred]
        self._ready.clear()

    # -- whose turn it is ---------------------------------------------------------------------------

    def _take(self, node: int) -> None:
        self._wanted.pop(node, None)
        self._deferred.pop(node, None)
        self._forget_waiting(node)
        self._active.add(node)

    def _release(self, node: int) -> None:
        self._active.discard(node)
        self._insisting.discard(node)

    def _wake_deferred(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            until, node = heapq.heappop(self._alarms)
            if self._deferred.get(node) != until:
                continue
            del self._deferred[node]
            if node in self._waiters or node in self._waiting or not self._is_ahead(node):
                self.want(node)

    def _next_due(self, now: float) -> int | None:
        if not self._ready:
            occupied = len(self._active) + len(self._waiting) + len(self._deferred)
            self._ready.extend(node for node in self._index.view().nodes.due_ids(now, occupied + READ_AHEAD)
                               if self._is_free(node))
        while self._ready:
            node = self._ready.popleft()
            if self._is_free(node) and not self._is_ahead(node):
                return node
        return None

    def _is_free(self, node: int) -> bool:
        return (node not in self._active and node not in self._waiting and node not in self._deferred
                and node not in self._wanted)

    def _is_ahead(self, node: int) -> bool:
        """Whether the time of a changed node is still to come."""
        due = self._index.view().nodes.due_at(node)
        return due is not None and due > self._clock()

    # -- who waits for whom -------------------------------------------------------------------------

    def _break_circle(self, node: int, in_circle: set[int], others: set[int], *, insisted: bool) -> None:
        """Let one member after the other of a circle try to break it; when none can, wait for somebody else's step.

        Where `node` is in several circles, so are those that it waits for, `in_circle`: each of them tries.
        """
        if not insisted:
            self._deadlocked.add(node)
            self.want(node)
            return
        now = self._clock()
        pause = RECHECK * (1 + len(self._in_vain) // 100)  # many that cannot are not all tried every second
        self._in_vain[node] = now + pause
        self._note_waiting(node, others)
        able = {other for other in in_circle if other in self._waiting and self._in_vain.get(other, now) <= now}
        self.defer(node, now + pause)  # what it waits for may have become another matter
        self._deadlocked |= able
        for other in able:
            self.want(other)

    def _note_waiting(self, node: int, awaited: set[int]) -> None:
        if not awaited:
            return
        self._waiting[node] = awaited
        for other in awaited:
            self._waiters.setdefault(other, set()).add(node)

    def _forget_waiting(self, node: int) -> None:
        for other in self._waiting.pop(node, ()):
            waiters = self._waiters[other]
            waiters.discard(node)
            if not waiters:
                del self._waiters[other]

    def _able_at(self, node: int, now: float) -> float:
        """When carrying the node has a chance: `now` or a later time; never (infinite) while it is parked."""
        if node in self._active or node in self._waiting:
            return now
        if node in self._deferred:
            return self._deferred[node]
        record = self._index.view().nodes.get(node)
        if record is None:
            return now + RECHECK
        if record.parked:
            return math.inf
        return max(now, record.due) if record.dirty else now

    def _reaches(self, start: int, target: int) -> bool:
        """Whether a node waits, directly or not, for the target."""
        if target not in self._waiters:
            return False
        seen: set[int] = set()
        pending = [start]
        while pending:
            current = pending.pop()
            if current == target:
                return True
            if current not in seen:
                seen.add(current)
                pending += self._waiting.get(current, ())
        return False
