"""Writes that wait to be committed, and how their threads wait."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Change = Callable[[sqlite3.Connection], T]
"""What a transaction does."""
Together = Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
"""Makes several changes of one kind. Returns what came of each, in their order: its result, or the exception that
refuses it, for which it has changed nothing."""


class Signal:
    """Wakes one thread. Much cheaper than an Event."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the thread, or keep it from waiting next time."""
        try:  # noqa: SIM105 -- suppress() costs four times that
            self._lock.release()
        except RuntimeError:  # it is set already
            pass

    def wait(self, seconds: float) -> None:
        """Wait until it is set, at most so long, and reset it."""
        self._lock.acquire(timeout=seconds)


class Write(Generic[T]):
    """One requested change and, once committed or failed, its outcome."""

    __slots__ = ("change", "done", "error", "item", "result", "signal", "together")

    def __init__(self, change: Change[T] | None = None, *, together: Together | None = None, item: Any = None) -> None:
        """Either `change`, which can be rolled back alone, or `item`, which `together` changes along with others."""
        self.change = change
        self.together = together
        self.item = item
        self.done = False
        self.signal: Signal | None = None
        """It is done, or its thread may be the one that commits next; there once a thread waits, or is about to."""
        self.result: T | None = None
        self.error: BaseException | None = None
