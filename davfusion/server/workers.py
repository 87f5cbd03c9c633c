"""Threads that carry out tasks: started when they are needed, ended when they are not."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Task = Callable[[], None]


class Urgency(enum.Enum):
    """Which of the tasks that wait for a thread comes first."""

    LEADING = "before all others"
    USUAL = "in turn"
    PATIENT = "after the others, and never in one of the reserved threads"


class WorkerPool:
    """Up to `limit` threads; of those that have nothing to do, `keep` stay and the others end after `idle` seconds.

    Methods may be called by any thread. The thread that was idle for the shortest time is used first,
    so that few threads do the work of a quiet server.
    """

    def __init__(
        self, *, keep: int, limit: int, reserve: int, idle: float, interrupt: Callable[[BaseException], None]
    ) -> None:
        """`reserve` of the threads are not for patient tasks. `interrupt` is told of a SystemExit or
        KeyboardInterrupt that a task raises."""
        self._keep = keep
        self._limit = limit
        self._patient_limit = limit - reserve
        self._idle_seconds = idle
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._threads: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._patient: deque[Task] = deque()
        self._stopping = False
        self._started = 0

    @property
    def spare(self) -> bool:
        """Whether a task given now, unless it is patient, would begin at once."""
        return bool(self._idle) or len(self._threads) < self._limit

    @property
    def crowded(self) -> bool:
        """Whether tasks wait for a thread."""
        return bool(self._waiting or self._patient)

    def give(self, task: Task, urgency: Urgency = Urgency.USUAL) -> None:
        """Have the task carried out, as soon as there is a thread for it."""
        with self._lock:
            if urgency is not Urgency.PATIENT or self._busy < self._patient_limit:
                if self._idle:
                    worker = self._idle.pop()
                    worker.task = task
                    worker.wake.release()
                    return
                if len(self._threads) < self._limit and self._start(task):
                    return
            if urgency is Urgency.PATIENT:
                self._patient.append(task)
            elif urgency is Urgency.USUAL:
                self._waiting.append(task)
            else:
                self._waiting.appendleft(task)

    def next_task(self, worker: _Worker) -> Task | None:
        """Wait for the worker's next task; None: it is to end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._patient and self._busy <= self._patient_limit:
                return self._patient.popleft()
            if self._stopping:
                self._threads.discard(worker)
                return None
            patience = self._idle_seconds if len(self._idle) >= self._keep else -1
            worker.task = None
            self._idle.append(worker)
        if not worker.wake.acquire(timeout=patience):
            with self._lock:
                if worker in self._idle:
                    self._idle.remove(worker)
                    self._threads.discard(worker)
                    return None
            worker.wake.acquire()
        return worker.task

    def interrupted(self, interrupt: BaseException) -> None:
        """A task ended with an exception that is meant to end the program."""
        self._interrupt(interrupt)

    def stop(self, timeout: float) -> bool:
        """End the threads when they have done what waits; whether all of them ended within `timeout` seconds."""
        with self._lock:
            self._stopping = True
            workers = list(self._threads)
            for worker in self._idle:
                worker.wake.release()
            self._threads.difference_update(self._idle)
            self._idle.clear()
        deadline = time.monotonic() + timeout
        for worker in workers:
            worker.join(max(deadline - time.monotonic(), 0))
        return not any(worker.is_alive() for worker in workers)

    @property
    def _busy(self) -> int:
        return len(self._threads) - len(self._idle)

    def _start(self, task: Task) -> bool:
        self._started += 1
        worker = _Worker(self, task, f"http-{self._started}")
        self._threads.add(worker)
        try:
            worker.start()
        except RuntimeError as error:
            self._threads.discard(worker)
            log.error("no further thread can be started error=%r threads=%d", error, len(self._threads))
            return False
        return True


class _Worker(threading.Thread):
    def __init__(self, pool: WorkerPool, task: Task, name: str) -> None:
        # An application that never returns must not keep the process from ending.
        super().__init__(name=name, daemon=True)
        self.task: Task | None = task
        self.wake = threading.Lock()
        self.wake.acquire()
        self._pool = pool

    def run(self) -> None:
        task = self.task
        while task is not None:
            try:
                task()
            except (SystemExit, KeyboardInterrupt) as interrupt:
                self._pool.interrupted(interrupt)
            except Exception:
                log.exception("a task failed")
            task = None
            task = self._pool.next_task(self)
