"""Keeps a set of processes running: starts them, restarts those that die, stops all in order.

A child is started by exec, never by fork alone, because clients of stores do not survive a fork. It gets
one line on its standard input, the handover; that pipe stays open as long as the supervisor lives, so its
end tells the child that it is alone. The child writes one line on its standard output when it is ready.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger(__name__)

EXIT_UNUSABLE = 78
"""Exit code of a child that another start cannot help (sysexits: EX_CONFIG)."""

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""Signals that children deal with; blocked until they can."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 10.0
_STABLE_AFTER = 30.0
_FIRST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One process to keep running."""

    name: str
    argv: tuple[str, ...]
    handover: str
    """Text without line breaks that the child reads first on its standard input; may hold secrets."""
    inherited: tuple[int, ...] = ()
    """File descriptors that the child keeps under the same numbers."""


class _Child:
    """A spec and, while it runs, its process."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.was_ready = False
        self.started = 0.0
        self.pause = _FIRST_PAUSE
        self.start_at: float | None = 0.0
        self.starts = 0

    def start(self) -> subprocess.Popen[bytes]:
        # signals wait until the child is able to deal with them
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
        try:
            self.process = process = subprocess.Popen(
                self.spec.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=self.spec.inherited)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        self.started = time.monotonic()
        self.start_at = None
        self.starts += 1
        assert process.stdin is not None
        # a broken pipe: it died at once, and its end is seen like that of any other child
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(self.spec.handover.encode() + b"\n")
            process.stdin.flush()
        log.info("process started", extra={"child": self.spec.name, "pid": process.pid})
        return process

    def forget(self) -> None:
        """Let go of a process that has ended."""
        assert self.process is not None
        for pipe in (self.process.stdin, self.process.stdout):
            # a broken pipe: the handover was still in the buffer of a child that is gone
            with contextlib.suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()
        self.process = None

    def schedule_restart(self) -> None:
        """Plan the next start, later and later while it keeps dying young."""
        if time.monotonic() - self.started > _STABLE_AFTER:
            self.pause = _FIRST_PAUSE
        self.start_at = time.monotonic() + self.pause * random.uniform(0.5, 1.0)
        self.pause = min(self.pause * 2, _LONGEST_PAUSE)


class Supervisor:
    """Runs groups of children until SIGTERM or SIGINT. To be used from the main thread of a process.

    The very first child starts alone and the others once it is ready: a state that cannot be used is
    reported once, and a new one is made by one.
    """

    def __init__(self, groups: Sequence[Sequence[ChildSpec]], *, ready: Callable[[], None],
                 grace: float = 10.0, passes_hangup: bool = False) -> None:
        """`groups` stop one after the other, each within `grace` seconds.

        `passes_hangup`: SIGHUP goes to the first group; without, it ends this process as usual.
        `ready` is called once, when every child of the first group has reported that it is ready.
        """
        self._groups = [[_Child(spec) for spec in group] for group in groups]
        self._children = [child for group in self._groups for child in group]
        self._ready = ready
        self._announced = False
        self._grace = grace
        self._stopping = False
        self._hung_up = False
        self._passes_hangup = passes_hangup
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Keep the children running; the exit code for this process: 0 after an ordered stop.

        1 when a child says that another start cannot help (it has told why on standard error), or
        when it never became ready and died several times.
        """
        wake, wake_up = socket.socketpair()
        wake.setblocking(False)
        wake_up.setblocking(False)
        self._selector.register(wake, selectors.EVENT_READ, None)
        old_wakeup = signal.set_wakeup_fd(wake_up.fileno(), warn_on_full_buffer=False)
        old_handlers = [(number, signal.signal(number, handler)) for number, handler in (
            (signal.SIGTERM, self._request_stop), (signal.SIGINT, self._request_stop),
            (signal.SIGCHLD, _ignore), *([(signal.SIGHUP, self._note_hangup)] if self._passes_hangup else []))]
        try:
            return self._watch()
        finally:
            self._stop_all()
            signal.set_wakeup_fd(old_wakeup)
            for number, old in old_handlers:
                signal.signal(number, old)
            self._selector.close()
            wake.close()
            wake_up.close()

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _note_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._hung_up = True

    def _pass_hangup(self) -> None:
        self._hung_up = False
        for child in self._groups[0]:
            if child.process is not None:
                child.process.send_signal(signal.SIGHUP)

    def _watch(self) -> int:
        while not self._stopping:
            if self._hung_up:
                self._pass_hangup()
            self._start_due()
            for key, _ in self._selector.select(self._until_next_start()):
                self._read(key)
            for child in self._children:
                if child.process is None or (code := child.process.poll()) is None:
                    continue
                self._forget(child)
                log.error("process died", extra={"child": child.spec.name, "code": code})
                if code == EXIT_UNUSABLE or (not child.was_ready and child.starts >= _FIRST_ATTEMPTS):
                    return 1
                child.schedule_restart()
        return 0

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._startable():
            if child.start_at is None or child.start_at > now:
                continue
            process = child.start()
            assert process.stdout is not None
            self._selector.register(process.stdout, selectors.EVENT_READ, child)

    def _startable(self) -> list[_Child]:
        return self._children if self._children[0].was_ready else self._children[:1]

    def _until_next_start(self) -> float | None:
        due = [child.start_at for child in self._startable() if child.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _read(self, key: selectors.SelectorKey) -> None:
        child: _Child | None = key.data
        if child is None:
            key.fileobj.recv(4096)  # type: ignore[union-attr]
            return
        if not os.read(key.fd, 4096):
            self._selector.unregister(key.fileobj)
            return
        child.was_ready = True
        if not self._announced and all(each.was_ready for each in self._groups[0]):
            self._announced = True
            self._ready()

    def _forget(self, child: _Child) -> None:
        assert child.process is not None
        assert child.process.stdout is not None
        with contextlib.suppress(KeyError):  # its end was read already
            self._selector.unregister(child.process.stdout)
        child.forget()

    def _stop_all(self) -> None:
        for group in self._groups:
            running = [child for child in group if child.process is not None]
            for child in running:
                assert child.process is not None
                child.process.terminate()
            deadline = time.monotonic() + self._grace
            for child in running:
                _await_end(child, deadline)
                self._forget(child)


def _await_end(child: _Child, deadline: float) -> None:
    process = child.process
    assert process is not None
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        log.warning("process killed", extra={"child": child.spec.name, "why": "it did not stop in time"})
        process.kill()
        process.wait()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Only there so that the signal wakes the selector."""
