"""FaultyStore: a store that fails on purpose, to prove that the rooms above stand it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar, cast

from davfusion.store.errors import NotFoundError, StoreError, TemporaryError
from davfusion.store.interface import Capabilities, Condition, Metadata, Store, split
from davfusion.store.wrapper import WrappedStore

Result = TypeVar("Result")
HISTORY = 8
"""Earlier states that are remembered of one folder or path."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the name of the method, the path (the destination of a copy), and its number from 1."""

    verb: str
    path: str
    number: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call. Several things may."""

    latency: float = 0.0
    """Seconds before anything happens."""
    before: StoreError | None = None
    """Raised instead of the effect."""
    after: StoreError | None = None
    """Raised although the effect took place; of a stream, at its end."""
    cut: int | None = None
    """The transfer ends with TemporaryError after so many bytes, either way."""
    corrupt: int | None = None
    """The byte at this position of a read stream is flipped."""
    lost: bool = False
    """A change is reported as done, and nothing is."""
    late: bool = False
    """A change is reported as failed, and is made when `deliver` is called. A removal asks for no version any more."""
    stale: int = 0
    """A folder is listed, or metadata told, as it was so many changes ago (0: as it is)."""


Plan = Callable[[Call], Fault | None]
"""Decides for each call what goes wrong; called from any thread."""

KINDS: Mapping[str, Fault] = {
    "before": Fault(before=TemporaryError("Planned: failed before the effect")),
    "after": Fault(after=TemporaryError("Planned: failed after the effect")),
    "lost": Fault(lost=True),
    "late": Fault(late=True),
    "stale": Fault(stale=1),
}
"""Faults without a number in them, by name; `cut`, `corrupt` and `latency` get theirs drawn."""


def no_faults(call: Call) -> None:
    """The plan by which all goes well."""
    del call


class RandomPlan:
    """Each call fails with the probabilities given by kind, at most in one way.

    Kinds are those of KINDS and `cut`, `corrupt` (at a position below 256 KiB), `latency` (up to 50 ms).
    The same generator and the same order of calls give the same faults.
    """

    def __init__(self, generator: random.Random, rates: Mapping[str, float], *,
                 verbs: Sequence[str] | None = None) -> None:
        unknown = set(rates) - set(KINDS) - {"cut", "corrupt", "latency"}
        if unknown or sum(rates.values()) > 1:
            raise ValueError(f"Not kinds of faults with their rates: {dict(rates)}")
        self._generator = generator
        self._rates = dict(rates)
        self._verbs = verbs
        self._lock = threading.Lock()
        self.enabled = True

    def __call__(self, call: Call) -> Fault | None:
        with self._lock:
            draw, detail = self._generator.random(), self._generator.random()
        if not self.enabled or (self._verbs is not None and call.verb not in self._verbs):
            return None
        for kind, rate in self._rates.items():
            if draw < rate:
                return _drawn(kind, detail)
            draw -= rate
        return None


def _drawn(kind: str, detail: float) -> Fault:
    match kind:
        case "cut":
            return Fault(cut=int(detail * 2**18))
        case "corrupt":
            return Fault(corrupt=int(detail * 2**18))
        case "latency":
            return Fault(latency=detail * 0.05)
    return KINDS[kind]


class FaultyStore(WrappedStore):
    """Passes calls to the store inside, with the faults of a plan. Safe for several threads.

    With `remember=True` it looks at the store before each change, so that stale answers have
    something to tell; only then `stale` has an effect, and the capabilities say so.
    """

    def __init__(self, store: Store, plan: Plan, *, remember: bool = False) -> None:
        super().__init__(store)
        self.plan = plan
        self._remember = remember
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._listings: dict[str, deque[list[Metadata]]] = {}
        self._told: dict[str, deque[Metadata | None]] = {}
        self._late: deque[Callable[[], object]] = deque()
        self._closing = threading.Event()

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(self._store.capabilities, strong_consistency=not self._remember
                                   and self._store.capabilities.strong_consistency)

    def close(self) -> None:
        self._closing.set()
        super().close()

    def deliver(self) -> None:
        """Make all late changes, in the order in which they were asked for; what is refused by now is left."""
        while True:
            with self._lock:
                if not self._late:
                    return
                effect = self._late.popleft()
            with contextlib.suppress(StoreError):
                effect()

    def _fault(self, verb: str, path: str) -> Fault:
        with self._lock:
            call = Call(verb, path, next(self._numbers))
        fault = self.plan(call) or Fault()
        if fault.latency:
            self._closing.wait(fault.latency)
        if fault.before is not None:
            _raise(fault.before)
        return fault

    # -- reading ------------------------------------------------------------------------------

    def read(
        self, path: str, start: int = 0, stop: int | None = None, *, if_version: str | None = None,
        interrupt: threading.Event | None = None,
    ) -> Iterator[bytes]:
        fault = self._fault("read", path)
        position = 0
        for piece in super().read(path, start, stop, if_version=if_version, interrupt=interrupt):
            if fault.cut is not None and position + len(piece) > fault.cut:
                yield piece[:fault.cut - position]
                raise TemporaryError("Planned: the transfer was cut", path)
            yield _flip(piece, fault.corrupt, position)
            position += len(piece)
        _raise(fault.after)

    def get_metadata(self, path: str) -> Metadata:
        fault = self._fault("get_metadata", path)
        with self._lock:
            known = self._told.get(path)
            stale = known is not None and 0 < fault.stale <= len(known)
            told = known[-fault.stale] if known is not None and stale else None
        if not stale:
            told = super().get_metadata(path)
        _raise(fault.after)
        if told is None:
            raise NotFoundError("There is nothing here", path)
        return told

    def list_pages(self, directory: str, *, recursive: bool = False) -> Iterator[list[Metadata]]:
        fault = self._fault("list_pages", directory)
        with self._lock:
            known = self._listings.get(directory)
            old = known[-fault.stale] if known and 0 < fault.stale <= len(known) and not recursive else None
        if old is None:
            yield from super().list_pages(directory, recursive=recursive)
        elif old:
            yield old
        _raise(fault.after)

    # -- writing ------------------------------------------------------------------------------

    def store_fileobject(
        self, fileobject: BinaryIO, path: str, *, condition: Condition = None,
        modified: float | None = None, interrupt: threading.Event | None = None,
    ) -> Metadata:
        fault = self._fault("store_fileobject", path)
        if fault.lost:
            return self._pretend(path, fileobject.seek(0, 2), modified)
        source = fileobject if fault.cut is None else cast(BinaryIO, _CutFile(fileobject, fault.cut, path))
        if fault.late:
            fileobject.seek(0)
            source = io.BytesIO(fileobject.read())
        return self._change(fault, [path], lambda: super(FaultyStore, self).store_fileobject(
            source, path, condition=condition, modified=modified, interrupt=interrupt))

    def create_directory(self, directory: str) -> None:
        fault = self._fault("create_directory", directory)
        if not fault.lost:
            self._change(fault, [directory], lambda: super(FaultyStore, self).create_directory(directory))

    def keep_directory(self, directory: str) -> None:
        fault = self._fault("keep_directory", directory)
        if not fault.lost:
            self._change(fault, [directory], lambda: super(FaultyStore, self).keep_directory(directory))

    def delete(self, path: str, is_dir: bool, *, if_version: str | None = None) -> None:
        fault = self._fault("delete", path)
        version = None if fault.late else if_version
        if not fault.lost:
            self._change(fault, [path], lambda: super(FaultyStore, self).delete(
                path, is_dir, if_version=version))

    def delete_empty_directory(self, directory: str) -> None:
        fault = self._fault("delete_empty_directory", directory)
        if not fault.lost:
            self._change(fault, [directory],
                         lambda: super(FaultyStore, self).delete_empty_directory(directory))

    def unkeep_directory(self, directory: str) -> None:
        fault = self._fault("unkeep_directory", directory)
        if not fault.lost:
            self._change(fault, [directory], lambda: super(FaultyStore, self).unkeep_directory(directory))

    def duplicate(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
                  condition: Condition = None) -> Metadata:
        fault = self._fault("duplicate", path_to_dest)
        if fault.lost:
            return dataclasses.replace(self._store.get_metadata(path_to_src), path=path_to_dest)
        return self._change(fault, [path_to_dest], lambda: super(FaultyStore, self).duplicate(
            path_to_src, path_to_dest, if_version=if_version, condition=condition))

    def move(self, path_to_src: str, path_to_dest: str, *, if_version: str | None = None,
             condition: Condition = None) -> Metadata:
        fault = self._fault("move", path_to_dest)
        if fault.lost:
            return dataclasses.replace(self._store.get_metadata(path_to_src), path=path_to_dest)
        return self._change(fault, [path_to_src, path_to_dest], lambda: super(FaultyStore, self).move(
            path_to_src, path_to_dest, if_version=if_version, condition=condition))

    def _change(self, fault: Fault, paths: list[str], effect: Callable[[], Result]) -> Result:
        if fault.late:
            with self._lock:
                self._late.append(lambda: self._change(Fault(), paths, effect))
            raise TemporaryError("Planned: takes effect later", paths[-1])
        before = [(path, *self._look(path)) for path in paths] if self._remember else []
        result = effect()
        with self._lock:
            for path, told, listing in before:
                self._told.setdefault(path, deque(maxlen=HISTORY)).append(told)
                self._listings.setdefault(split(path)[0], deque(maxlen=HISTORY)).append(listing)
        _raise(fault.after)
        return result

    def _look(self, path: str) -> tuple[Metadata | None, list[Metadata]]:
        try:
            listing = [entry for page in self._store.list_pages(split(path)[0]) for entry in page]
        except NotFoundError:
            return None, []
        return next((entry for entry in listing if entry.path == path), None), listing

    def _pretend(self, path: str, size: int, modified: float | None) -> Metadata:
        with self._lock:
            number = next(self._numbers)
        return Metadata(path, is_dir=False, bytes=size, modified=modified or 0.0, version=f"lost-{number}")


class _CutFile:
    """A file object whose reading fails after so many bytes."""

    def __init__(self, fileobject: BinaryIO, left: int, path: str) -> None:
        self._fileobject, self._left, self._path = fileobject, left, path

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._fileobject.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        piece = self._fileobject.read(size)
        self._left -= len(piece)
        if self._left < 0 or not piece:
            raise TemporaryError("Planned: the transfer was cut", self._path)
        return piece


def _flip(piece: bytes, corrupt: int | None, position: int) -> bytes:
    if corrupt is None or not position <= corrupt < position + len(piece):
        return piece
    flipped = bytearray(piece)
    flipped[corrupt - position] ^= 0xFF
    return bytes(flipped)


def _raise(error: StoreError | None) -> None:
    if error is not None:
        raise type(error)(*error.args)
