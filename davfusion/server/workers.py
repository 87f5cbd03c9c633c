"""Threads that carry out tasks: started when they are needed, ended when they are not."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Task = Callable[[], None]


class WorkerPool:
    """Up to `limit` threads; of those that have nothing to do, `keep` stay and the others end after `idle` seconds.

    Methods may be called by any thread. The thread that was idle for the shortest time is used first,
    so that few threads do the work of a quiet server.
    """

    def __init__(self, *, keep: int, limit: int, idle: float, interrupt: Callable[[BaseException], None]) -> None:
        """`interrupt` is told of a SystemExit or KeyboardInterrupt that a task raises."""
        self._keep = keep
        self._limit = limit
        self._idle_seconds = idle
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._threads: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._stopping = False
        self._started = 0

    @property
    def spare(self) -> bool:
        """Whether a task given now would begin at once."""
        return bool(self._idle) or len(self._threads) < self._limit

    @property
    def crowded(self) -> bool:
        """Whether tasks wait for a thread."""
        return bool(self._waiting)

    def give(self, task: Task, *, first: bool = False) -> None:
        """Have the task carried out, as soon as a thread is free; `first` puts it before all that wait."""
        with self._lock:
            if self._idle:
                worker = self._idle.pop()
                worker.task = task
                worker.wake.release()
                return
            if len(self._threads) < self._limit and self._start(task):
                return
            if first:
                self._waiting.appendleft(task)
            else:
                self._waiting.append(task)

    def next_task(self, worker: _Worker) -> Task | None:
        """Wait for the worker's next task; None: it is to end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
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
