"""Writes that wait to be committed, and how their threads wait."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Signal:
    """Wakes one thread. Much cheaper than an Event, and there is one for each write."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the thread, or keep it from waiting next time."""
        try:  # noqa: SIM105 -- suppress() costs four times that, and every write is signalled
            self._lock.release()
        except RuntimeError:  # it is set already
            pass

    def wait(self, seconds: float) -> None:
        """Wait until it is set, at most so long, and reset it."""
        self._lock.acquire(timeout=seconds)


class Write(Generic[T]):
    """One requested transaction and, once committed or failed, its outcome."""

    __slots__ = ("awaited", "change", "done", "error", "result", "savepoint", "signal")

    def __init__(self, change: Callable[[sqlite3.Connection], T], *, savepoint: bool = True) -> None:
        self.change = change
        self.savepoint = savepoint
        """It can be rolled back alone, whatever it has done."""
        self.done = False
        self.awaited = False
        """A thread waits for it, or is about to."""
        self.signal = Signal()
        """It is done, or its thread may be the one that commits next."""
        self.result: T | None = None
        self.error: BaseException | None = None
