"""The worker threads: cheroot's, in a pool that grows when slow clients hold them all."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import Any

from cheroot.workers.threadpool import (  # type: ignore[attr-defined]
    _SHUTDOWNREQUEST,
    ThreadPool,
    WorkerThread,
)

_STARVING_AFTER = 0.1
_SHUTDOWN_WAIT = 1.0


class WorkerPool(ThreadPool):
    """Threads that take connections from a queue. `put` may be called by any thread, the rest by one."""

    _threads: list[WorkerThread]
    _queue: queue.Queue[Any]

    def __init__(self, server: Any, *, threads: int, max_threads: int) -> None:
        super().__init__(server, min=threads, max=max_threads)
        self._waiting_since: float | None = None

    def start(self) -> None:
        """Start the threads, without waiting for them."""
        for _ in range(self.min):
            self._add()

    def relieve(self, now: float) -> bool:
        """Add a thread where connections have been waiting for one; whether some wait.

        `now` is time.monotonic.
        """
        if not self.qsize:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > _STARVING_AFTER and len(self._threads) < self.max:
            self._add()
            self._waiting_since = now
        return self._waiting_since is not None

    def stop(self, timeout: float = _SHUTDOWN_WAIT) -> None:
        """End the threads; what still keeps one busy after `timeout` seconds loses its connection."""
        threads = self._threads[:]
        self._threads.clear()
        for _ in threads:
            self._queue.put(_SHUTDOWNREQUEST)
        _join(threads, timeout)
        for thread in threads:
            connection = thread.conn
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)
        _join(threads, timeout)

    def _add(self) -> None:
        thread = WorkerThread(self.server)  # type: ignore[no-untyped-call]
        thread.name = f"http-{len(self._threads) + 1}"
        # An application that never returns must not keep the process from ending.
        thread.daemon = True
        thread.start()
        self._threads.append(thread)


def _join(threads: list[WorkerThread], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0))
