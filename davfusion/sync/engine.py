"""The engine of one share: finds what is due, hands it to workers, watches over transfers under way."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from random import Random

from davfusion.cache.index import Record
from davfusion.cache.share import Share
from davfusion.chunks.errors import ChunksError
from davfusion.store.errors import RateLimitedError, SignInNeededError, StoreError, TemporaryError
from davfusion.sync.carrier import Again, Carrier, Done, Failed, Later, Outcome, Waits
from davfusion.sync.claims import LayoutError, claim_plain
from davfusion.sync.markers import Markers
from davfusion.sync.queue import WorkQueue
from davfusion.sync.retry import Backoff, Breaker
from davfusion.sync.statistics import Statistics
from davfusion.sync.upkeep import Upkeep

log = logging.getLogger("davfusion.sync")

TICK = 0.1
"""Seconds between two looks at the index while nothing happens."""
UPKEEP_EVERY = 10.0
FLUSH_EVERY = 2.0
SMALL = 100_000
"""Bytes up to which a file may use any worker."""
LONGEST_LINE = 1000
"""Large files that are taken out of the queue at most, so that small ones behind them get their turn."""
PAUSE_AFTER_PROBLEM = 1.0
"""Seconds for which the engine rests when the index could not be read or written."""
STEPS_LIMIT = 100_000
"""Steps that `run_due` takes at most, unless told: more would mean that planning does not converge."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How hard the engine works."""

    workers: int = 16
    """Transfers at the same time at most; fewer for large files and slow stores."""
    backoff: Backoff = field(default_factory=Backoff)
    pause: float = 5.0
    """Seconds between two tries of a store that is down."""


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
        self._markers = Markers(share)
        self._carrier = Carrier(share, self.statistics, self._markers, backoff=self._settings.backoff,
                                random=random or Random())
        self._queue = WorkQueue(share.index, share.index.now)
        self._breaker = Breaker(share.index.now, pause=self._settings.pause)
        self._upkeep = Upkeep(share, self._markers)
        self._transfers: dict[int, _Transfer] = {}
        self._running: dict[Future[Outcome], int] = {}
        self._line: deque[int] = deque()
        """Large files, taken from the queue, that wait for others to have travelled."""
        self._housekeeping: Future[None] | None = None
        self._flush_at = self._upkeep_at = self._watch_at = 0.0
        self._sync_seen = self._index.view().operations.sync_requested()
        self._forced = False
        self._claimed = False

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then interrupt transfers under way and return. Blocking."""
        self._begin()
        with ThreadPoolExecutor(self._settings.workers + 1, thread_name_prefix="sync") as pool:
            try:
                while not stop.is_set():
                    self._round(pool, stop)
            finally:
                for transfer in self._transfers.values():
                    transfer.interrupt.set()
        self._flush()

    def _round(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        """Hand out work, wait for some of it to end. A disk that is full or a busy index is waited for."""
        try:
            self._look()
            self._dispatch(pool)
            self._reap(stop)
            self._keep_house(pool, stop)
        except Exception:
            log.exception("engine rests after a problem", extra={"seconds": PAUSE_AFTER_PROBLEM})
            stop.wait(PAUSE_AFTER_PROBLEM)

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
        self._upkeep.forget_late(threading.Event())
        self._upkeep.collect()
        self._upkeep.confirm(float("inf"), threading.Event())
        self._markers.drop()

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
        elif self._forced and self._index.view().nodes.next_due() is None:
            self._forced = False
        if time.monotonic() >= self._watch_at:
            self._watch_at = time.monotonic() + TICK
            self._watch()

    def _watch(self) -> None:
        """Interrupt transfers of what is not wanted any more."""
        for node, transfer in self._transfers.items():
            record = self._index.view().nodes.get(node)
            if record is None or (record.content != transfer.content and not self._goes_all_the_same(record)):
                transfer.interrupt.set()

    def _goes_all_the_same(self, record: Record) -> bool:
        """Whether a file has waited so long that the version under way is to get there before the newer one."""
        return record.content is not None and record.due <= self._index.now()

    def _dispatch(self, pool: ThreadPoolExecutor) -> None:
        if not self._breaker.allows() or not self._may_carry():
            return
        workers = 1 if self._breaker.is_open else self._settings.workers
        for node in list(self._line)[:workers]:
            record = self._index.view().nodes.get(node)
            if len(self._running) < workers and self._has_slot(record):
                self._line.remove(node)
                self._start(pool, node, record)
        while len(self._running) < workers and len(self._line) < LONGEST_LINE:
            nodes = self._queue.next(workers - len(self._running))
            if not nodes:
                return
            for node in nodes:
                record = self._index.view().nodes.get(node)
                if self._has_slot(record):
                    self._start(pool, node, record)
                else:
                    self._line.append(node)

    def _may_carry(self) -> bool:
        """Whether the store is one for this layout; asked once in the life of an index."""
        if self._claimed:
            return True
        try:
            claim_plain(self._share.store, self._index)
        except StoreError as error:
            self.statistics.failed(error)
            self._failed(error)
        except (LayoutError, ChunksError) as error:
            log.error("nothing is carried", extra={"problem": str(error)})
            self._breaker.failed(at_once=True)
        else:
            self._claimed = True
        return self._claimed

    def _has_slot(self, record: Record | None) -> bool:
        """Whether one more file of this size may travel now; only large ones are limited among themselves."""
        size = record.size if record is not None else 0
        if size <= SMALL:
            return True
        return sum(transfer.size > SMALL for transfer in self._transfers.values()) < self._limit(size)

    def _start(self, pool: ThreadPoolExecutor, node: int, record: Record | None) -> None:
        transfer = _Transfer(threading.Event(), record.content if record is not None else None,
                             record.size if record is not None else 0)
        self._transfers[node] = transfer
        future = pool.submit(self._carrier.carry, node, transfer.interrupt, forced=self._forced,
                             deadlocked=self._queue.is_deadlocked(node))
        self._running[future] = node

    def _limit(self, size: int) -> int:
        """Fewer transfers at a time as files grow and as the store slows down (as the seed did)."""
        megabytes = size / 1_000_000
        return max(3, int(self._settings.workers / (megabytes + 1) / self.statistics.slowdown()))

    def _reap(self, stop: threading.Event) -> None:
        if not self._running:
            stop.wait(TICK)
            return
        finished, _ = wait(self._running, timeout=TICK, return_when=FIRST_COMPLETED)
        for future in finished:
            node = self._running.pop(future)
            self._transfers.pop(node, None)
            problem = future.exception()
            if problem is not None:
                log.error("carrying ended unexpectedly", exc_info=problem, extra={"node": node})
            outcome = future.result() if problem is None else Later(self._index.now() + PAUSE_AFTER_PROBLEM)
            self._account(node, outcome)

    def _keep_house(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        """Housekeeping asks the store, so it has a worker of its own."""
        now = time.monotonic()
        if now >= self._flush_at:
            self._flush_at = now + FLUSH_EVERY
            self._flush()
        if now >= self._upkeep_at and (self._housekeeping is None or self._housekeeping.done()):
            self._upkeep_at = now + UPKEEP_EVERY
            self._requeue_doubtful()
            self._housekeeping = pool.submit(self._upkeep.run, stop, store_is_down=self._breaker.is_open)

    def _flush(self) -> None:
        try:
            self.statistics.flush(self._index.now())
        except Exception:
            log.exception("statistics not kept")

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
                self._failed(outcome.error)
                self._queue.ended(node)
                self._defer_piece(node)
            case Done():
                if outcome.answered:
                    self._succeeded()
                self._queue.ended(node)

    def _succeeded(self) -> None:
        if self._breaker.succeeded():
            log.info("store is back", extra={"store": self._share.store.get_name()})
            self._index.write(lambda view: view.nodes.hasten_failed(view.now()))
            self._queue.look_again()

    def _failed(self, error: StoreError) -> None:
        if isinstance(error, (TemporaryError, SignInNeededError)):
            retry_after = error.retry_after if isinstance(error, TemporaryError) else None
            self._breaker.failed(retry_after, at_once=isinstance(error, RateLimitedError))
        opens_at = self._breaker.opens_at()
        if opens_at is not None:  # the breaker sees to the pauses now: what failed is at hand when the store is back
            self._index.write(lambda view: view.nodes.hasten_failed(opens_at))

    def _defer_piece(self, node: int) -> None:
        """What is not dirty itself but lies in a folder that is being moved has no due time that counts."""
        record = self._index.view().nodes.get(node)
        if record is not None and not record.dirty:
            self._queue.defer(node, min(record.due, self._breaker.opens_at() or record.due))

    def _requeue_doubtful(self) -> None:
        """Doubtful operations of nodes that are not dirty, or not soon due, are nobody's next step: settle them too."""
        view = self._index.view()
        for operation in view.operations.open():
            record = view.nodes.get(operation.node)
            nobodys = record is None or not record.dirty or record.parked or operation.late
            if nobodys and operation.node not in self._queue.active:
                self._queue.want(operation.node)
