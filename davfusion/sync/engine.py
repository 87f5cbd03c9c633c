"""The engine of one share: finds what is due, hands it to workers, watches over transfers under way."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from random import Random

from davfusion.cache.share import Share
from davfusion.store.errors import RateLimitedError, SignInNeededError, StoreError, TemporaryError
from davfusion.sync.carrier import Again, Carrier, Done, Failed, Later, Outcome, Waits
from davfusion.sync.queue import WorkQueue
from davfusion.sync.retry import Backoff, Breaker
from davfusion.sync.statistics import Statistics
from davfusion.sync.upkeep import Upkeep

log = logging.getLogger("davfusion.sync")

TICK = 0.1
"""Seconds between two looks at the index while nothing happens."""
UPKEEP_EVERY = 10.0
FLUSH_EVERY = 2.0
STEPS_LIMIT = 100_000
"""Steps that `run_due` takes at most, unless told: more would mean that planning does not converge."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How hard the engine works."""

    workers: int = 16
    """Transfers at the same time at most; fewer for large files and slow stores."""
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(slots=True)
class _Transfer:
    """A step under way; `content` is what the node had when it began."""

    interrupt: threading.Event
    content: int | None
    size: int


class Engine:
    """Carries one share's tree to its store until it is stopped. One per state directory."""

    def __init__(self, share: Share, settings: EngineSettings | None = None, *, random: Random | None = None) -> None:
        self._share = share
        self._index = share.index
        self._settings = settings or EngineSettings()
        self.statistics = Statistics(share.index)
        self._carrier = Carrier(share, self.statistics, backoff=self._settings.backoff, random=random or Random())
        self._queue = WorkQueue(share.index, share.index.now)
        self._breaker = Breaker(share.index.now)
        self._upkeep = Upkeep(share)
        self._transfers: dict[int, _Transfer] = {}
        self._sync_seen = self._index.view().operations.sync_requested()
        self._forced = False

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then interrupt transfers under way and return. Blocking."""
        self._begin()
        running: dict[Future[Outcome], int] = {}
        upkeep_at = flush_at = 0.0
        with ThreadPoolExecutor(self._settings.workers, thread_name_prefix="sync") as pool:
            try:
                while not stop.is_set():
                    self._look()
                    self._dispatch(pool, running)
                    self._reap(running, stop)
                    now = time.monotonic()
                    if now >= flush_at:
                        self.statistics.flush(self._index.now())
                        flush_at = now + FLUSH_EVERY
                    if now >= upkeep_at:
                        self._upkeep.run(store_is_down=self._breaker.is_open)
                        self._requeue_doubtful()
                        upkeep_at = now + UPKEEP_EVERY
            finally:
                for transfer in self._transfers.values():
                    transfer.interrupt.set()
        self.statistics.flush(self._index.now())

    def run_due(self, *, limit: int = STEPS_LIMIT) -> int:
        """Carry everything that is due by the clock, one step after the other; returns the number of steps.

        At most `limit` steps are taken. What fails, or waits for a later time, is left.
        """
        self._begin()
        self._look()
        self._queue.look_again()
        steps = 0
        while steps < limit:
            nodes = self._queue.next(1)
            if not nodes:
                break
            steps += 1
            outcome = self._carrier.carry(nodes[0], threading.Event(), forced=self._forced,
                                          deadlocked=self._queue.is_deadlocked(nodes[0]))
            self._account(nodes[0], outcome)
        return steps

    def tidy(self) -> None:
        """One round of housekeeping, with every unconfirmed write looked up. Raises StoreError."""
        self._upkeep.collect()
        self._upkeep.confirm(float("inf"))
        self._upkeep.drop_markers()

    # -- scheduling ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        for operation in self._index.view().operations.open():
            self._queue.want(operation.node)

    def _look(self) -> None:
        """Take note of what other processes did: requests to hurry, nodes changed during their transfer."""
        requested = self._index.view().operations.sync_requested()
        if requested != self._sync_seen:
            self._sync_seen = requested
            self._forced = True
            self._index.write(lambda view: view.nodes.hasten(view.now()))
        elif self._forced and self._index.view().nodes.count_dirty()[0] == 0:
            self._forced = False
        for node, transfer in self._transfers.items():
            record = self._index.view().nodes.get(node)
            if record is None or record.content != transfer.content:
                transfer.interrupt.set()

    def _dispatch(self, pool: ThreadPoolExecutor, running: dict[Future[Outcome], int]) -> None:
        if not self._breaker.allows():
            return
        room = 1 if self._breaker.is_open else self._settings.workers
        for node in self._queue.next(max(0, room - len(running))):
            record = self._index.view().nodes.get(node)
            size = record.size if record is not None else 0
            transfer = _Transfer(threading.Event(), record.content if record is not None else None, size)
            self._transfers[node] = transfer
            future = pool.submit(self._carrier.carry, node, transfer.interrupt, forced=self._forced,
                                 deadlocked=self._queue.is_deadlocked(node))
            running[future] = node
            if len(running) >= self._limit(size):
                break

    def _limit(self, size: int) -> int:
        """Fewer transfers at a time as files grow and as the store slows down (as the seed did)."""
        if size <= 100_000:
            return self._settings.workers
        megabytes = size / 1_000_000
        return max(3, int(self._settings.workers / (megabytes + 1) / self.statistics.slowdown()))

    def _reap(self, running: dict[Future[Outcome], int], stop: threading.Event) -> None:
        if not running:
            stop.wait(TICK)
            return
        finished, _ = wait(running, timeout=TICK, return_when=FIRST_COMPLETED)
        for future in finished:
            node = running.pop(future)
            self._transfers.pop(node, None)
            self._account(node, future.result())

    def _account(self, node: int, outcome: Outcome) -> None:
        match outcome:
            case Again():
                if outcome.answered:
                    self._succeeded()
                self._queue.again(node)
            case Waits():
                self._queue.wait(node, outcome.nodes)
            case Later():
                self._queue.ended(node)
                self._queue.defer(node, outcome.at)
            case Failed():
                self._queue.ended(node)
                self._failed(outcome.error)
            case Done():
                self._queue.ended(node)

    def _succeeded(self) -> None:
        if self._breaker.succeeded():
            log.info("store is back", extra={"store": self._share.store.get_name()})
            self._index.write(lambda view: view.nodes.hasten_failed(view.now()))

    def _failed(self, error: StoreError) -> None:
        if isinstance(error, RateLimitedError):
            self._breaker.failed(error.retry_after or 1.0)
        elif isinstance(error, (TemporaryError, SignInNeededError)):
            self._breaker.failed()

    def _requeue_doubtful(self) -> None:
        """Doubtful operations of nodes that are not dirty are nobody's next step: settle them too."""
        view = self._index.view()
        for node in {operation.node for operation in view.operations.open()} - self._queue.active:
            record = view.nodes.get(node)
            if record is None or not record.dirty:
                self._queue.want(node)
