"""The engine of one chunked share: packs what is due, carries it, writes the journal, keeps the store tidy."""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from random import Random

from davfusion.cache.index import View, Waiting
from davfusion.cache.share import Share
from davfusion.chunks.errors import ChunksError, EntryTakenError, LeaseHeldError
from davfusion.chunks.journal import Journal
from davfusion.store.errors import RateLimitedError, SignInNeededError, StoreError, TemporaryError
from davfusion.sync.chunked.carriage import Carriage
from davfusion.sync.chunked.collector import Collector, Thrift
from davfusion.sync.chunked.cut import cut
from davfusion.sync.chunked.factory import ChunkFactory, Item, Packing
from davfusion.sync.chunked.scribe import Scribe
from davfusion.sync.chunked.snapshots import Snapshots
from davfusion.sync.chunked.tenure import Tenure
from davfusion.sync.engine import EngineSettings
from davfusion.sync.layout import LayoutError, claim_chunked
from davfusion.sync.locked import held_back
from davfusion.sync.retry import Breaker
from davfusion.sync.statistics import Statistics
from davfusion.sync.upkeep import Upkeep

log = logging.getLogger("davfusion.sync.chunked")

TICK = 0.1
"""Seconds between two looks at the index while nothing happens."""
PAUSE_AFTER_PROBLEM = 1.0
FLUSH_EVERY = 2.0
UPKEEP_EVERY = 10.0
SINGLES = 3
"""Large files that travel at the same time at most; each sends several blocks at a time."""
IDLE_CUT = 1.0
"""Seconds until the tree is looked through again after nothing was found to write down."""


class ChunkedEngine:
    """Carries one chunked share to its store until it is stopped. One per state directory."""

    def __init__(self, share: Share, packing: Packing, settings: EngineSettings | None = None, *,
                 thrift: Thrift | None = None, random: Random | None = None) -> None:
        self._share = share
        self._index = share.index
        self._settings = settings or EngineSettings()
        self._thrift = thrift or Thrift()
        self._random = random or Random()
        self._packing = packing
        self._factory = ChunkFactory(packing)
        self.statistics = Statistics(share.index)
        self._workshop = _workshop(share)
        self._carriage = Carriage(share, packing, self.statistics, workshop=self._workshop)
        self._breaker = Breaker(share.index.now, pause=self._settings.pause)
        self._upkeep = Upkeep(share)
        self._volume: _Volume | None = None
        self._running: dict[Future[int], Sequence[Item]] = {}
        self._interrupts: dict[Future[int], threading.Event] = {}
        self._next_cut = self._flush_at = self._upkeep_at = 0.0
        self._untold = True
        """The journal may have to be told something although no node is due."""
        self._housekeeping: Future[None] | None = None
        self._sync_seen = self._index.view().operations.sync_requested()
        self._forced = False

    # -- life ---------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then interrupt transfers under way and return. Blocking."""
        with ThreadPoolExecutor(self._settings.workers + 2, thread_name_prefix="sync") as pool:
            try:
                while not stop.is_set():
                    self._round(pool, stop)
            finally:
                for interrupt in self._interrupts.values():
                    interrupt.set()
        self.close()

    def close(self) -> None:
        """Give the share free for another writer; nothing may be asked of the engine afterwards."""
        self._flush_statistics()
        self._leave()
        self._carriage.close()

    def _leave(self) -> None:
        if self._volume is not None:
            self._volume.tenure.end()
            self._volume = None

    def run_due(self) -> None:
        """Carry everything that is due by the clock and write it down. Raises StoreError, ChunksError, LayoutError."""
        volume = self._open()
        stop = threading.Event()
        while True:
            self._look()
            items = self._items(self._index.now())
            for archive in self._factory.archives(items):
                self._carriage.put_archive(archive, stop)
            for item in self._factory.singles(items):
                self._carriage.put_blocks(item, stop)
            if not self._write_down(volume) and not items:
                return

    def tidy(self) -> None:
        """One round of housekeeping. Raises StoreError, ChunksError."""
        volume = self._open()
        self._purge()
        self._upkeep.collect()
        volume.collector.run(threading.Event())
        self._write_down(volume)

    # -- rounds -------------------------------------------------------------------------------------

    def _round(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        try:
            self._keep_house(pool, stop)
            if not self._breaker.allows():
                self._reap(stop)
                return
            volume = self._open()
            self._look()
            self._dispatch(pool)
            self._reap(stop)
            self._write_down_when_due(volume)
        except (ChunksError, LayoutError) as error:
            self._refuse(error, stop)
        except StoreError as error:
            self._failed(error, [])
        except Exception:
            log.exception("engine rests after a problem", extra={"seconds": PAUSE_AFTER_PROBLEM})
            stop.wait(PAUSE_AFTER_PROBLEM)

    def _open(self) -> _Volume:
        """The share in its store, ready to be written to. Raises StoreError, ChunksError, LayoutError."""
        if self._volume is None:
            volume = _Volume(self._share, self._carriage, self._thrift, self._workshop)
            try:
                volume.tenure.begin()
                volume.scribe.catch_up()
            except BaseException:
                volume.tenure.end()
                raise
            self._volume = volume
        if self._volume.tenure.lost is not None:
            raise self._volume.tenure.lost
        return self._volume

    def _refuse(self, error: Exception, stop: threading.Event) -> None:
        """Somebody else writes to the share, or it is not as it should be: say so where people look, and wait."""
        log.error("share not written", extra={"problem": str(error)})
        self.statistics.failed(error)
        if isinstance(error, EntryTakenError | LeaseHeldError) or self._lease_is_lost():
            self._leave()
        self._index.write(lambda view: view.journalled.note_problem(str(error)))
        stop.wait(self._settings.pause)

    def _lease_is_lost(self) -> bool:
        return self._volume is not None and self._volume.tenure.lost is not None

    def _look(self) -> None:
        """Take note of requests to hurry, and of large files that changed while they travel."""
        view = self._index.view()
        requested = view.operations.sync_requested()
        if requested != self._sync_seen:
            self._sync_seen, self._forced, self._next_cut = requested, True, 0.0
            self._index.write(lambda view: view.nodes.hasten(view.now()))
        elif self._forced and view.nodes.next_due() is None:
            self._forced = False
        for future, items in self._running.items():
            if len(items) == 1 and not view.nodes.users(items[0].content):
                self._interrupts[future].set()

    # -- what travels -------------------------------------------------------------------------------

    def _items(self, before: float) -> list[Item]:
        """The contents that are due before a time and do not travel yet."""
        view = self._index.view()
        under_way = {item.content for items in self._running.values() for item in items}
        found: list[Item] = []
        for waiting in view.objects.waiting(before):
            path = view.nodes.path(waiting.node) if waiting.content not in under_way else None
            if path is not None and not self._is_held_back(view, waiting, path):
                record = view.nodes.get(waiting.node)
                modified = record.modified if record is not None else view.now()
                found.append(Item(waiting.content, waiting.size, path, modified, waiting.node))
        return found

    def _is_held_back(self, view: View, waiting: Waiting, path: str) -> bool:
        if self._forced or not view.locks.any(view.now()):
            return False
        return held_back(view, path, due=waiting.due) is not None

    def _dispatch(self, pool: ThreadPoolExecutor) -> None:
        """Once anything is due, everything that waits for half its time already goes along, in as few archives."""
        due = self._index.view().nodes.next_due()
        now = self._index.now()
        if due is None or due > now or any(len(items) > 1 for items in self._running.values()):
            return
        items = self._items(now + self._share.settings.upload_delay / 2)
        for archive in self._factory.archives(items):
            self._start(pool, archive)
        singles = sum(len(items) == 1 and items[0].size >= self._packing.pack_below
                      for items in self._running.values())
        for item in self._factory.singles(items)[:max(0, SINGLES - singles)]:
            self._start(pool, [item])

    def _start(self, pool: ThreadPoolExecutor, items: Sequence[Item]) -> None:
        interrupt = threading.Event()
        if items[0].size < self._packing.pack_below:
            future = pool.submit(self._carriage.put_archive, items, interrupt)
        else:
            future = pool.submit(self._carriage.put_blocks, items[0], interrupt)
        self._running[future], self._interrupts[future] = items, interrupt

    def _reap(self, stop: threading.Event) -> None:
        if not self._running:
            stop.wait(TICK)
            return
        finished, _ = wait(self._running, timeout=TICK, return_when=FIRST_COMPLETED)
        for future in finished:
            items, interrupt = self._running.pop(future), self._interrupts.pop(future)
            problem = future.exception()
            self._next_cut = 0.0
            if problem is None:
                self._succeeded()
            elif isinstance(problem, StoreError):
                if not interrupt.is_set():
                    self._failed(problem, items)
            else:
                log.error("carrying ended unexpectedly", exc_info=problem)
                self._postpone(items, TemporaryError(f"Internal error: {problem!r}"))

    # -- the journal --------------------------------------------------------------------------------

    def _write_down_when_due(self, volume: _Volume) -> None:
        """Cut when archives are all there and something is due; large files that still travel come with a later one."""
        now = self._index.now()
        due = self._index.view().nodes.next_due()
        packing = any(items[0].size < self._packing.pack_below for items in self._running.values())
        if packing or time.monotonic() < self._next_cut or not (self._untold or (due is not None and due <= now)):
            return
        self._untold = False
        if not self._write_down(volume):
            self._next_cut = time.monotonic() + IDLE_CUT
        self._succeeded()

    def _write_down(self, volume: _Volume) -> bool:
        """Tell the journal what it does not know; whether there was anything."""
        with volume.scribe.lock:
            with self._index.reading() as view:
                news = cut(view)
            if news:
                volume.scribe.write(news)
        self._purge()
        return bool(news)

    def _purge(self) -> None:
        """Rows of nodes that are in neither tree go, and what lay below them, in batches."""
        while self._index.write(purge_some):
            pass

    # -- upkeep -------------------------------------------------------------------------------------

    def _keep_house(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        now = time.monotonic()
        if now >= self._flush_at:
            self._flush_at = now + FLUSH_EVERY
            self._flush_statistics()
        if now >= self._upkeep_at and (self._housekeeping is None or self._housekeeping.done()):
            self._upkeep_at = now + UPKEEP_EVERY
            self._housekeeping = pool.submit(self._tidy_up, self._volume, stop)

    def _tidy_up(self, volume: _Volume | None, stop: threading.Event) -> None:
        self._upkeep.run(stop, store_is_down=True)
        if volume is None or self._breaker.is_open:
            return
        try:
            volume.collector.run(stop)
            self._untold = True
            if volume.snapshots.due():
                volume.snapshots.write()
        except (StoreError, ChunksError) as error:
            log.warning("upkeep postponed", extra={"problem": str(error)})

    def _flush_statistics(self) -> None:
        try:
            self.statistics.flush(self._index.now())
        except Exception:
            log.exception("statistics not kept")

    # -- failures -----------------------------------------------------------------------------------

    def _succeeded(self) -> None:
        if self._breaker.succeeded():
            log.info("store is back", extra={"store": self._share.store.get_name()})
            self._index.write(lambda view: view.nodes.hasten_failed(view.now()))

    def _failed(self, error: StoreError, items: Sequence[Item]) -> None:
        self._postpone(items, error)
        if isinstance(error, TemporaryError | SignInNeededError):
            retry_after = error.retry_after if isinstance(error, TemporaryError) else None
            self._breaker.failed(retry_after, at_once=isinstance(error, RateLimitedError))
        opens_at = self._breaker.opens_at()
        if opens_at is not None:
            self._index.write(lambda view: view.nodes.hasten_failed(opens_at))

    def _postpone(self, items: Sequence[Item], error: StoreError) -> None:
        """Note why and for how long the files have to wait."""
        self.statistics.failed(error)

        def change(view: View) -> None:
            for item in items:
                record = view.nodes.get(item.node)
                if record is not None and record.content == item.content:
                    delay = self._settings.backoff.delay(record.attempts + 1, error, self._random)
                    view.nodes.update(item.node, attempts=record.attempts + 1, problem=error.message,
                                      due=view.now() + delay)
        self._index.write(change)
        log.warning("postponed", extra={"files": len(items), "problem": error.message})


class _Volume:
    """A share in its store, claimed for this engine."""

    def __init__(self, share: Share, carriage: Carriage, thrift: Thrift, workshop: Path) -> None:
        host = platform.node()
        marker = claim_chunked(share.store, share.index)
        journal = Journal(share.store, marker.share)
        self.tenure = Tenure(share.store, share.index, host=host)
        self.scribe = Scribe(share.index, journal, share=marker.share, host=host, workshop=workshop)
        self.snapshots = Snapshots(share.index, journal, share=marker.share, host=host, workshop=workshop)
        self.collector = Collector(share, carriage, thrift, tenure=self.tenure, lock=self.scribe.lock)


PURGE_BATCH = 200


def purge_some(view: View) -> bool:
    """Remove some nodes that are in neither tree; whether there may be more.

    What lies below one goes with it where the journal had it there, and is to be removed where it had it elsewhere.
    """
    vanished = view.journalled.vanished(PURGE_BATCH)
    for node in vanished:
        children = view.nodes.children_after(node, "", PURGE_BATCH)
        for child in children:
            if child.synced_parent == node:
                view.journalled.note_removed(child.id)
            view.nodes.update(child.id, parent=None, name=None, content=None)
            view.locks.remove_on(child.id)
        if not children:
            view.nodes.remove(node)
    return bool(vanished)


def _workshop(share: Share) -> Path:
    folder = share.files.directory.parent / "workshop"
    folder.mkdir(exist_ok=True)
    return folder
