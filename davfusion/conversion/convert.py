"""Carries what lies in one store into a share in the other layout, and proves that it arrived.

The target is an ordinary share with its state directory and its engine: what was taken over before an interruption is
known there and not taken again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from davfusion.cache.errors import CacheFullError, TreeError
from davfusion.cache.node import Node, PropertyChange
from davfusion.cache.share import Share
from davfusion.chunks.errors import DamagedError
from davfusion.conversion.source import Entry, ShareInStore
from davfusion.store.errors import StoreError

log = logging.getLogger("davfusion.conversion")

WORKERS = 8
"""Files that are read at the same time."""
PAUSES = (1.0, 3.0, 10.0)
"""Seconds before a file that could not be read is tried again."""
FULL_PAUSE = 1.0
"""Seconds to wait for the engine while the cache is full of what was not carried yet."""
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is; sizes in bytes."""

    files: int
    all_files: int
    size: int
    all_size: int


@dataclass(slots=True)
class Outcome:
    """What became of a conversion; paths are those in the share."""

    taken: int = 0
    """Files taken over in this run."""
    known: int = 0
    """Files that an earlier run had taken over."""
    failed: dict[str, str] = field(default_factory=dict)
    """What could not be taken over, and why."""
    different: list[str] = field(default_factory=list)
    """What the target holds otherwise than the source."""

    @property
    def is_whole(self) -> bool:
        """Everything is in the target as it is in the source."""
        return not self.failed and not self.different


class Record:
    """The SHA-256 of each file that was taken over, kept beside the index. For several threads."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, float, str]] = {}
        if file.exists():
            self._load(file)
        self._file = file.open("a", encoding="utf-8")

    def get(self, entry: Entry) -> str | None:
        """The SHA-256 of a file, if it was taken over as it is now."""
        known = self._known.get(entry.path)
        return known[2] if known is not None and known[:2] == (entry.size, entry.modified) else None

    def add(self, entry: Entry, sha256: str) -> None:
        """A file was taken over."""
        with self._lock:
            self._known[entry.path] = entry.size, entry.modified, sha256
            self._file.write(json.dumps([entry.path, entry.size, entry.modified, sha256]) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Nothing is added any more."""
        self._file.close()

    def _load(self, file: Path) -> None:
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                path, size, modified, sha256 = json.loads(line)
            except ValueError:
                continue  # the last line of a run that was killed
            self._known[path] = size, modified, sha256


class Conversion:
    """Takes the entries of a source over into a share."""

    def __init__(self, source: ShareInStore, target: Share, record: Record, *,
                 show: Callable[[Progress], None] = lambda _: None) -> None:
        self._source = source
        self._target = target
        self._record = record
        self._show = show
        self._lock = threading.Lock()
        self._done = [0, 0]
        self.outcome = Outcome()

    def take_over(self, stop: threading.Event) -> list[Entry]:
        """Take over all entries that are not there yet; returns all of the source. Raises StoreError."""
        entries = list(self._source.entries())
        files = [entry for entry in entries if not entry.is_folder]
        total = len(files), sum(entry.size for entry in files)
        for entry in entries:
            if entry.is_folder:
                self._make_folder(entry)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="convert") as pool:
            for entry in _finished(pool, self._take, files, stop):
                self._done[0] += 1
                self._done[1] += entry.size
                self._show(Progress(self._done[0], total[0], self._done[1], total[1]))
        return entries

    def compare(self, entries: Iterable[Entry], held: ShareInStore, *, deep: bool) -> None:
        """Compare what the target's store holds with the source: names, kinds and sizes; when `deep`, each byte."""
        there = {entry.path: entry for entry in held.entries()}
        for entry in entries:
            found = there.pop(entry.path, None)
            if entry.path == "/" or entry.path in self.outcome.failed:
                continue
            if not self._is_same(entry, found, held, deep):
                self.outcome.different.append(entry.path)
        self.outcome.different += [path for path in there if path != "/"]

    def _is_same(self, entry: Entry, found: Entry | None, held: ShareInStore, deep: bool) -> bool:
        if found is None or (found.is_folder, found.size) != (entry.is_folder, entry.size):
            return False
        if entry.is_folder or not deep:
            return True
        digest = hashlib.sha256()
        try:
            for piece in held.read(found):
                digest.update(piece)
        except (DamagedError, StoreError) as error:
            log.error("file not read back", extra={"path": entry.path, "problem": str(error)})
            return False
        return digest.hexdigest() == self._record.get(entry)

    # -- one entry ------------------------------------------------------------------------------

    def _make_folder(self, entry: Entry) -> None:
        node = self._target.find(entry.path)
        if node is None:
            node = self._target.make_folder(entry.path, modified=entry.modified)
        self._give_attributes(entry, node)

    def _take(self, entry: Entry) -> Entry:
        if self._is_known(entry):
            with self._lock:
                self.outcome.known += 1
            return entry
        for pause in (*PAUSES, None):
            try:
                self._copy(entry)
            except (StoreError, DamagedError, TreeError) as error:
                retryable = isinstance(error, StoreError) and error.retryable
                if pause is not None and retryable:
                    time.sleep(pause)
                    continue
                self.outcome.failed[entry.path] = str(error)
            break
        return entry

    def _is_known(self, entry: Entry) -> bool:
        node = self._target.find(entry.path)
        return (node is not None and not node.is_folder and node.size == entry.size
                and self._record.get(entry) is not None)

    def _copy(self, entry: Entry) -> None:
        digest = hashlib.sha256()
        while True:
            try:
                incoming = self._target.receive(entry.size)
                break
            except CacheFullError:
                time.sleep(FULL_PAUSE)  # the engine makes room by carrying
        with incoming:
            for piece in self._source.read(entry):
                digest.update(piece)
                incoming.write(piece)
            node, _ = self._target.put(entry.path, incoming, modified=entry.modified, media_type=entry.media_type)
        self._give_attributes(entry, node)
        self._record.add(entry, digest.hexdigest())
        with self._lock:
            self.outcome.taken += 1

    def _give_attributes(self, entry: Entry, node: Node) -> None:
        if not entry.properties and entry.created is None:
            return
        changes = [PropertyChange(name, xml) for name, xml in entry.properties.items()]
        if self._target.properties(node) != entry.properties or node.created != entry.created:
            self._target.change_properties(entry.path, changes, modified=entry.modified, created=entry.created)


def _finished(pool: ThreadPoolExecutor, take: Callable[[Entry], Entry], files: Iterable[Entry],
              stop: threading.Event) -> Iterator[Entry]:
    """The files as they are done, with a bounded number under way; ends early when `stop` is set."""
    running: set[Future[Entry]] = set()
    for entry in files:
        if stop.is_set():
            break
        running.add(pool.submit(take, entry))
        if len(running) >= 2 * WORKERS:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    for future in running:
        yield future.result()
