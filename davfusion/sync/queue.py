"""What to carry next: due nodes, nodes that others wait for, and who waits for whom."""

from __future__ import annotations

from collections.abc import Callable

from davfusion.cache.index import Index

RECHECK = 1.0
"""Seconds after which a node that waits for nobody in particular is looked at again."""
SPARE = 64
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
        self._waiting: dict[int, set[int]] = {}
        self._deferred: dict[int, float] = {}
        self._deadlocked: set[int] = set()

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
        self._deferred = {node: until for node, until in self._deferred.items() if until > now}
        chosen = [node for node in self._wanted if node not in self._active][:limit]
        if len(chosen) < limit:
            chosen += self._due(now, limit - len(chosen), set(chosen))
        for node in chosen:
            self._wanted.pop(node, None)
            self._waiting.pop(node, None)
            self._active.add(node)
        return chosen

    def is_deadlocked(self, node: int) -> bool:
        """Whether what the node waits for waits for it; asking ends it."""
        if node in self._deadlocked:
            self._deadlocked.discard(node)
            return True
        return False

    def again(self, node: int) -> None:
        """A step of the node ended and there may be more of them."""
        self._active.discard(node)
        self.want(node)

    def ended(self, node: int) -> None:
        """Nothing more is to be done for the node now; who waited for it and nobody else is looked at again."""
        self._active.discard(node)
        for waiter, awaited in list(self._waiting.items()):
            awaited.discard(node)
            if not awaited:
                del self._waiting[waiter]
                self.want(waiter)

    def wait(self, node: int, awaited: tuple[int, ...]) -> None:
        """The node waits for others, which are to be carried first."""
        self._active.discard(node)
        others = {other for other in awaited if other != node}
        if any(self._reaches(other, node) for other in others):
            self._deadlocked.add(node)
            self.want(node)
            return
        able = {other for other in others if self._is_able(other)}
        if not able:
            self.defer(node, self._clock() + RECHECK)
            return
        self._waiting[node] = able
        for other in able:
            if other not in self._waiting:
                self.want(other)

    def defer(self, node: int, until: float) -> None:
        """Do not carry the node before a time."""
        self._active.discard(node)
        self._wanted.pop(node, None)
        self._deferred[node] = until

    def look_again(self) -> None:
        """Forget what was put off."""
        self._deferred.clear()

    def _due(self, now: float, limit: int, chosen: set[int]) -> list[int]:
        occupied = len(self._active) + len(self._waiting) + len(self._deferred)
        records = self._index.view().nodes.due(now, limit + occupied + SPARE)
        free = [record.id for record in records if record.id not in chosen and record.id not in self._active
                and record.id not in self._waiting and record.id not in self._deferred]
        return free[:limit]

    def _is_able(self, node: int) -> bool:
        """Whether carrying the node now has a chance."""
        record = self._index.view().nodes.get(node)
        if record is None:
            return node in self._active
        return not record.parked and not (record.attempts and record.due > self._clock())

    def _reaches(self, start: int, target: int) -> bool:
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
