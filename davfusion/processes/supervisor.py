"""Keeps a set of processes running: starts them, restarts those that die, replaces them, stops all in order.

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
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

from davfusion.processes.protocol import EXIT_UNUSABLE, HANDLED_SIGNALS
from davfusion.processes.terminal import Terminal

log = logging.getLogger(__name__)

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

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The reverse of `dataclasses.asdict`, with lists where JSON made them of tuples."""
        return cls(**{**fields, "argv": tuple(fields["argv"]), "inherited": tuple(fields["inherited"])})


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

    def terminate(self) -> None:
        """Ask the process to end."""
        assert self.process is not None
        self.process.terminate()

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


@dataclass(slots=True)
class _Replacement:
    """One child of the first group on its way to be replaced by another on the same spec."""

    old: _Child
    new: _Child
    kill_at: float | None = None
    """When the old one has to be gone (time.monotonic); None while the new one is not ready."""


class Supervisor:
    """Runs groups of children until SIGTERM or SIGINT. To be used from the main thread of a process.

    The very first child starts alone and the others once it is ready: a state that cannot be used is
    reported once, and a new one is made by one.

    SIGHUP is passed on to the first group, unless it says that the terminal was closed: then all stops in order.
    SIGUSR1 replaces the children of the first group, one after the other: each old one is told to end once its
    successor, which inherits the same descriptors, is ready. A successor that fails ends the replacing.
    """

    def __init__(self, groups: Sequence[Sequence[ChildSpec]], *, ready: Callable[[], None],
                 grace: float = 10.0) -> None:
        """`groups` stop one after the other, each within `grace` seconds.

        `ready` is called once, when every child of the first group has reported that it is ready.
        """
        self._groups = [[_Child(spec) for spec in group] for group in groups]
        self._ready = ready
        self._announced = False
        self._grace = grace
        self._stopping = False
        self._hung_up = False
        self._outdated: deque[_Child] = deque()
        self._replacement: _Replacement | None = None
        self._terminal = Terminal()
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
            (signal.SIGTERM, self._request_stop), (signal.SIGINT, self._request_stop), (signal.SIGCHLD, _ignore),
            (signal.SIGHUP, self._note_hangup), (signal.SIGUSR1, self._outdate))]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
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

    def _outdate(self, _number: int, _frame: FrameType | None) -> None:
        self._outdated = deque(self._groups[0])

    def _heed_hangup(self) -> None:
        if not self._hung_up:
            return
        self._hung_up = False
        if self._terminal.is_gone():
            self._stopping = True
            return
        for child in self._groups[0]:
            if child.process is not None:
                child.process.send_signal(signal.SIGHUP)

    def _watch(self) -> int:
        while True:
            self._heed_hangup()
            if self._stopping:
                return 0
            self._start_due()
            self._replace_next()
            for key, _ in self._selector.select(self._until_next_moment()):
                self._read(key)
            self._see_replacement_through()
            for child in self._children():
                if child.process is None or (code := child.process.poll()) is None:
                    continue
                self._forget(child)
                log.error("process died", extra={"child": child.spec.name, "code": code})
                if code == EXIT_UNUSABLE or (not child.was_ready and child.starts >= _FIRST_ATTEMPTS):
                    return 1
                child.schedule_restart()

    def _children(self) -> list[_Child]:
        return [child for group in self._groups for child in group]

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._startable():
            if child.start_at is not None and child.start_at <= now:
                self._start(child)

    def _start(self, child: _Child) -> None:
        process = child.start()
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, child)

    def _replace_next(self) -> None:
        """Start the successor of the next child that is to be replaced, when the last one is through."""
        while self._replacement is None and self._outdated:
            old = self._outdated.popleft()
            # one that is dead gets a new process anyway
            if old.process is not None and old in self._groups[0]:
                self._replacement = _Replacement(old, _Child(old.spec))
                self._start(self._replacement.new)

    def _succeed(self, replacement: _Replacement) -> None:
        """Let the successor, which is ready, take the place of the old child."""
        group = self._groups[0]
        group[group.index(replacement.old)] = replacement.new
        replacement.kill_at = time.monotonic() + self._grace
        if replacement.old.process is not None:
            replacement.old.terminate()

    def _see_replacement_through(self) -> None:
        replacement = self._replacement
        if replacement is None:
            return
        old, new = replacement.old, replacement.new
        if replacement.kill_at is None:
            assert new.process is not None
            if (code := new.process.poll()) is not None:
                log.error("replacement died", extra={"child": new.spec.name, "code": code})
                self._forget(new)
                self._replacement = None
                self._outdated.clear()
            return
        if old.process is not None and old.process.poll() is None:
            if time.monotonic() < replacement.kill_at:
                return
            _await_end(old, replacement.kill_at)
        if old.process is not None:
            self._forget(old)
        log.info("process replaced", extra={"child": new.spec.name})
        self._replacement = None

    def _startable(self) -> list[_Child]:
        children = self._children()
        return children if children[0].was_ready else children[:1]

    def _until_next_moment(self) -> float | None:
        """Seconds until something is to be done although nothing has happened; None: nothing is."""
        moments = [child.start_at for child in self._startable() if child.start_at is not None]
        if self._replacement is not None and self._replacement.kill_at is not None:
            moments.append(self._replacement.kill_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _read(self, key: selectors.SelectorKey) -> None:
        child: _Child | None = key.data
        if child is None:
            key.fileobj.recv(4096)  # type: ignore[union-attr]
            return
        if not os.read(key.fd, 4096):
            self._selector.unregister(key.fileobj)
            return
        child.was_ready = True
        if self._replacement is not None and self._replacement.new is child:
            self._succeed(self._replacement)
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
        if self._replacement is not None:
            both = (self._replacement.old, self._replacement.new)
            self._groups[0].extend(child for child in both if child not in self._groups[0])
        for group in self._groups:
            running = [child for child in group if child.process is not None]
            for child in running:
                child.terminate()
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
