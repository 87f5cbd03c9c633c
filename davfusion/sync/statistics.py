"""What the engine tells about its work: rates, sums, errors grouped with counts. Bounded in memory.

Sums live in the index, so they outlast the engine and every process can read them. MB is 10^6 bytes.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass

from davfusion.cache.index import Index, View
from davfusion.cache.transparent import ENGINE_STATISTICS

WINDOW = 60.0
"""Seconds over which rates are measured."""
KINDS = 50
"""Kinds of errors that are remembered."""


@dataclass(slots=True)
class ErrorCount:
    """One kind of error: how often, when last (seconds since the epoch), and what it said last."""

    name: str
    count: int
    last: float
    message: str


class Statistics:
    """Counts the engine's transfers and errors. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._transfers: deque[tuple[float, float, int]] = deque(maxlen=10_000)
        self._pending: dict[str, int] = {}
        self._errors: dict[str, ErrorCount] = {}
        self._durations: deque[float] = deque(maxlen=10)

    def uploaded(self, size: int, started: float, ended: float) -> None:
        """A file of `size` bytes was uploaded between two monotonic times."""
        with self._lock:
            self._transfers.append((started, ended, size))
            self._durations.append(ended - started)
            self._pending["uploads"] = self._pending.get("uploads", 0) + 1
            self._pending["uploaded_bytes"] = self._pending.get("uploaded_bytes", 0) + size

    def failed(self, error: Exception) -> None:
        """A step failed."""
        name = type(error).__name__
        with self._lock:
            known = self._errors.get(name)
            if known is None and len(self._errors) >= KINDS:
                return
            count = known.count if known is not None else 0
            self._errors[name] = ErrorCount(name, count + 1, self._index.now(), str(error))

    def slowdown(self) -> int:
        """1, 2 or 4: how much the last uploads say that the store is being asked too much."""
        with self._lock:
            if not self._durations:
                return 1
            average = sum(self._durations) / len(self._durations)
        return 1 if average < 1.5 else 2 if average < 2.0 else 4

    def upload_rate(self) -> float:
        """Bytes per second while anything was being uploaded, over the last minute."""
        since = time.monotonic() - WINDOW
        with self._lock:
            recent = sorted(transfer for transfer in self._transfers if transfer[1] > since)
        busy, reached, size = 0.0, since, 0.0
        for started, ended, amount in recent:
            busy += max(0.0, ended - max(started, reached))
            reached = max(reached, ended)
            inside = ended - max(started, since)
            size += amount * inside / (ended - started) if ended > started else amount
        return size / busy if busy > 0 else 0.0

    def flush(self, heartbeat: float) -> None:
        """Add the sums to the index and leave a snapshot for others there. What it raises costs no sum."""
        with self._lock:
            pending = dict(self._pending)
            errors = [asdict(error) for error in self._errors.values()]
        snapshot = json.dumps({"heartbeat": heartbeat, "upload_rate": self.upload_rate(), "errors": errors})

        def change(view: View) -> None:
            for name, amount in pending.items():
                view.operations.add(name, amount)
            view.operations.set_meta(ENGINE_STATISTICS, snapshot)
        self._index.write(change)
        with self._lock:
            for name, amount in pending.items():
                self._pending[name] -= amount
