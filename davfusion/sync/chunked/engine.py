"""The engine of one chunked share: packs what is due, carries it, writes the journal, keeps the store tidy."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random

from davfusion.cache.share import Share
from davfusion.chunks.errors import ChunksError, EntryTakenError, LeaseHeldError, LeaseLostError
from davfusion.store.errors import (
    OutOfSpaceError,
    PermanentError,
    RateLimitedError,
    SignInNeededError,
    StoreError,
    TemporaryError,
)
from davfusion.sync.chunked.carriage import Carriage
from davfusion.sync.chunked.claimed import Claimed
from davfusion.sync.chunked.collector import Thrift
from davfusion.sync.chunked.cut import cut
from davfusion.sync.chunked.factory import ChunkFactory, Item, Packing
from davfusion.sync.chunked.postponing import postpone
from davfusion.sync.chunked.purge import purge_some
from davfusion.sync.chunked.transfers import ARCHIVES, SINGLES, Transfer, Transfers
from davfusion.sync.claims import LayoutError
from davfusion.sync.engine import EngineSettings
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
IDLE_CUT = 1.0
"""Seconds until the tree is looked through again after nothing was found to write down."""
ENTRY_EVERY = 5.0
"""Seconds between two entries of the journal while archives are on their way."""
REST = 20.0
"""What looks at many rows rests so many times as long as it took."""
LONGEST_REST = 5.0
"""Seconds for which a file that is due waits at most until it is looked for, however many others there are."""
PURGE_TIME = 0.2
"""Seconds that rows are removed for at a time."""
LEAST_ARCHIVE = 64 << 10
"""Bytes that an archive may have, however little room the store has left."""


class ChunkedEngine:
    """Carries one chunked share to its store until it is stopped. One per state directory."""

    def __init__(self, share: Share, packing: Packing, settings: EngineSettings | None = None, *,
                 thrift: Thrift | None = None, random: Random | None = None) -> None:
        self._share = share
        self._index = share.index
        self._settings = settings or EngineSettings()
        self._thrift = thrift or Thrift()
        self._random = random or Random()
        self._factory = ChunkFactory(packing)
        self.statistics = Statistics(share.index)
        self._workshop = _workshop(share)
        self._carriage = Carriage(share, packing, self.statistics, workshop=self._workshop)
        self._transfers = Transfers(self._carriage)
        self._breaker = Breaker(share.index.now, pause=self._settings.pause)
        self._lock = threading.Lock()
        """Held while an entry of the journal is made, written and recorded: no content is moved or forgotten then."""
        self._upkeep = Upkeep(share, collecting=self._lock)
        self._volume: Claimed | None = None
        self._troubles = 0
        """How often in succession the share as a whole could not be written."""
        self._rest_until = self._next_look = self._next_cut = self._last_entry = 0.0
        self._flush_at = self._upkeep_at = self._collect_at = 0.0
        self._largest_archive: int | None = None
        """What the store may still have room for, where it had none for a larger one."""
        self._untold = True
        """The journal may have to be told something although no node is due."""
        self._told_problem = True
        """Files may be shown with a problem of the share as a whole."""
        self._housekeeping: Future[None] | None = None
        self._sync_seen = self._index.view().operations.sync_requested()
        self._forced = False
        self._seen: int | None = None
        """The version of the index that `_due` is of."""
        self._due: float | None = None

    # -- life ---------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then interrupt transfers under way and return. Blocking."""
        with ThreadPoolExecutor(ARCHIVES + SINGLES + 1, thread_name_prefix="sync") as pool:
            try:
                while not stop.is_set():
                    self._round(pool, stop)
            finally:
                self._transfers.interrupt()
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
        moved = True
        while moved:
            self._look()
            items = self._items(self._index.now())
            stowed = [self._carriage.put_archive(archive, stop) for archive in self._factory.archives(items)]
            stowed += [self._carriage.put_blocks(item, stop) for item in self._factory.singles(items)]
            for each in stowed:
                self._miss(each.missing)
            told = self._write_down(volume)
            while self._index.write(purge_some):
                pass
            moved = told or any(each.kept for each in stowed)

    def tidy(self) -> None:
        """One round of housekeeping. Raises StoreError, ChunksError."""
        volume = self._open()
        self._upkeep.collect()
        if volume.snapshots.due():
            volume.snapshots.write()
        volume.collector.run(threading.Event())
        self._write_down(volume)
        volume.collector.delete(threading.Event())

    # -- rounds -------------------------------------------------------------------------------------

    def _round(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        try:
            self._keep_house(pool, stop)
            self._look()
            if time.monotonic() < self._rest_until or not self._breaker.allows():
                self._reap(stop)
                return
            volume = self._open()
            self._dispatch(pool)
            self._reap(stop)
            self._write_down_when_due(volume)
        except (ChunksError, LayoutError) as error:
            self._refuse(error)
        except StoreError as error:
            self._trouble(error)
        except Exception as error:
            log.exception("engine rests after a problem", extra={"seconds": PAUSE_AFTER_PROBLEM})
            with contextlib.suppress(Exception):  # a full disk, which is told already
                self._rest(error, f"davfusion has a problem of its own: {error!r}", PAUSE_AFTER_PROBLEM)
            stop.wait(PAUSE_AFTER_PROBLEM)

    def _open(self) -> Claimed:
        """The share in its store, ready to be written to. Raises StoreError, ChunksError, LayoutError."""
        if self._volume is None:
            volume = Claimed(self._share, self._carriage, self._thrift, self._workshop, self._lock)
            volume.begin()
            self._volume = volume
        if self._volume.tenure.lost is not None:
            raise self._volume.tenure.lost
        return self._volume

    def _look(self) -> None:
        """Take note of what other processes did: changes, requests to hurry, large files that changed on their way."""
        version = self._index.data_version()
        if version == self._seen:
            return
        view = self._index.view()
        requested = view.operations.sync_requested()
        if requested != self._sync_seen:
            self._sync_seen, self._forced = requested, True
            self._next_look = self._next_cut = self._rest_until = 0.0
            self._index.write(lambda view: view.nodes.hasten(view.now()))
        self._seen, self._due = version, view.nodes.next_due()
        if self._forced and self._due is None:
            self._forced = False
        self._transfers.interrupt_unwanted(view)

    @property
    def _is_due(self) -> bool:
        return self._due is not None and self._due <= self._index.now()

    # -- what travels -------------------------------------------------------------------------------

    def _items(self, before: float) -> list[Item]:
        """The contents that are due before a time and do not travel yet."""
        view = self._index.view()
        under_way = self._transfers.contents()
        may_be_held = not self._forced and view.locks.any(view.now())
        folders: dict[int, str | None] = {}
        found: list[Item] = []
        for waiting in view.objects.waiting(before):
            if waiting.content in under_way:
                continue
            if waiting.parent not in folders:
                folders[waiting.parent] = view.nodes.path(waiting.parent)
            folder = folders[waiting.parent]
            if folder is None:
                continue
            path = f"{folder.rstrip('/')}/{waiting.name}"
            if not may_be_held or held_back(view, path, due=waiting.due) is None:
                found.append(Item(waiting.content, waiting.size, path, waiting.modified, waiting.node))
        return found

    def _dispatch(self, pool: ThreadPoolExecutor) -> None:
        """Once anything is due, everything that waits for half its time already goes along, in as few archives."""
        self._transfers.start_archives(pool)
        began = time.monotonic()
        if not self._is_due or began < self._next_look:
            return
        items = self._items(self._index.now() + self._share.settings.upload_delay / 2)
        self._transfers.line_up(self._factory.archives(items, largest=self._largest_archive))
        self._transfers.start_archives(pool)
        for item in self._factory.singles(items)[:max(0, self._transfers.free_singles)]:
            self._transfers.start_single(pool, item)
        self._next_look = min(_rested(began, 0.0), time.monotonic() + LONGEST_REST)

    def _reap(self, stop: threading.Event) -> None:
        if not self._transfers:
            stop.wait(TICK)
            return
        for transfer, future in self._transfers.ended(TICK):
            self._next_cut = 0.0
            if not self._transfers.packing:
                self._next_look = 0.0
            problem = future.exception()
            if problem is None:
                self._succeeded()
                self._miss(future.result().missing)
                self._note_room(transfer)
            elif isinstance(problem, StoreError):
                if not transfer.interrupt.is_set():
                    self._failed(problem, transfer)
            else:
                log.error("carrying ended unexpectedly", exc_info=problem)
                self._postpone(transfer.items, TemporaryError(f"Internal error: {problem!r}"))

    def _miss(self, items: Sequence[Item]) -> None:
        """The bytes of files that wait are not where they should be: tell it, and do not look all the time."""
        if items:
            self._postpone(items, PermanentError("The bytes of this file are missing in the state directory"))

    def _note_room(self, transfer: Transfer) -> None:
        if self._largest_archive is not None and transfer.is_archive and transfer.size >= self._largest_archive // 2:
            self._largest_archive = None

    # -- the journal --------------------------------------------------------------------------------

    def _write_down_when_due(self, volume: Claimed) -> None:
        """Cut when archives are all there and something is due; what still travels comes with a later one.

        While masses travel, what is there is written down now and then.
        """
        began = time.monotonic()
        if began < self._next_cut or not (self._untold or self._is_due or volume.scribe.is_in_doubt):
            return
        if self._transfers.packing and began < self._last_entry + ENTRY_EVERY:
            return
        self._untold = False
        written = self._write_down(volume)
        if self._purge() or written:
            self._untold = True
        if written:
            self._last_entry = time.monotonic()
            self._troubles = 0
            self._succeeded()
        self._next_cut = 0.0 if written and not self._transfers else _rested(began, IDLE_CUT)

    def _write_down(self, volume: Claimed) -> bool:
        """Tell the journal what it does not know; whether there was anything. Raises StoreError, ChunksError.

        An entry of which it is not known whether it was written is followed by one that finds out.
        """
        with self._lock:
            with self._index.reading() as view:
                news = cut(view)
            if not news and not volume.scribe.is_in_doubt:
                return False
            volume.tenure.ensure()
            volume.scribe.write(news)
        return True

    def _purge(self) -> bool:
        """Rows of nodes that are in neither tree go, in batches; whether there may be more."""
        until = time.monotonic() + PURGE_TIME
        while more := self._index.write(purge_some):
            if time.monotonic() > until:
                break
        return more

    # -- upkeep -------------------------------------------------------------------------------------

    def _keep_house(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        now = time.monotonic()
        if now >= self._flush_at:
            self._flush_at = now + FLUSH_EVERY
            self._flush_statistics()
        if now >= self._upkeep_at and (self._housekeeping is None or self._housekeeping.done()):
            self._upkeep_at = now + UPKEEP_EVERY
            self._housekeeping = pool.submit(self._tidy_up, self._volume, stop)

    def _tidy_up(self, volume: Claimed | None, stop: threading.Event) -> None:
        longest = self._share.settings.upload_delay + self._settings.backoff.longest
        self._index.write(lambda view: view.journalled.no_later(view.now() + longest))
        self._upkeep.run_chunked(stop, store_is_down=volume is None or self._breaker.is_open)
        began = time.monotonic()
        if volume is None or self._breaker.is_open or began < self._collect_at:
            return
        try:
            if volume.snapshots.due():
                volume.snapshots.write()
            volume.collector.run(stop)
        except (StoreError, ChunksError) as error:
            log.warning("upkeep postponed", extra={"problem": str(error)})
        except Exception:
            log.exception("upkeep failed")
        self._untold = True
        self._collect_at = _rested(began, 0.0)

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
        if self._told_problem and not self._troubles:
            self._told_problem = False
            self._index.write(lambda view: view.journalled.clear_problems())

    def _failed(self, error: StoreError, transfer: Transfer) -> None:
        if isinstance(error, OutOfSpaceError) and transfer.is_archive:
            self._largest_archive = max(LEAST_ARCHIVE, transfer.size // 2)
        self._postpone(transfer.items, error)
        self._blame(error)

    def _blame(self, error: StoreError) -> None:
        """Take the store for down after some failures that may pass."""
        if isinstance(error, TemporaryError | SignInNeededError):
            retry_after = error.retry_after if isinstance(error, TemporaryError) else None
            self._breaker.failed(retry_after, at_once=isinstance(error, RateLimitedError))
        opens_at = self._breaker.opens_at()
        if opens_at is not None:
            self._index.write(lambda view: view.nodes.hasten_failed(opens_at))

    def _trouble(self, error: StoreError) -> None:
        """The share as a whole could not be written: say so with what waits, and try again later."""
        self._troubles += 1
        delay = self._settings.backoff.delay(self._troubles, error, self._random)
        self._rest(error, error.message, delay)
        self._blame(error)

    def _refuse(self, error: Exception) -> None:
        """Somebody else writes to the share, or it is not as it should be: nothing is written until that is over."""
        self._troubles += 1
        if isinstance(error, EntryTakenError | LeaseHeldError | LeaseLostError):
            self._leave()
        self._rest(error, str(error), self._settings.pause)

    def _rest(self, error: Exception, problem: str, seconds: float) -> None:
        log.warning("share not written", extra={"problem": problem, "seconds": round(seconds, 1)})
        self.statistics.failed(error)
        self._rest_until, self._told_problem = time.monotonic() + seconds, True
        self._index.write(lambda view: view.journalled.note_problem(problem))

    def _postpone(self, items: Sequence[Item], error: StoreError) -> None:
        """Note why and for how long all files with these contents have to wait."""
        self.statistics.failed(error)
        count = postpone(self._index, items, error, self._settings.backoff, self._random)
        log.warning("postponed", extra={"files": count, "problem": error.message})


def _rested(began: float, least: float) -> float:
    """When to do again what began then and has ended now."""
    now = time.monotonic()
    return now + max(least, REST * (now - began))


def _workshop(share: Share) -> Path:
    folder = share.files.directory.parent / "workshop"
    folder.mkdir(exist_ok=True)
    return folder
