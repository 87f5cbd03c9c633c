"""A share whose engine and listings are run by hand, on a store that lets requests come late."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from davfusion.cache.index import Operation
from davfusion.cache.node import ROOT_ID
from davfusion.store.faults import Call, Fault, FaultyStore
from davfusion.store.interface import Capabilities, Store
from davfusion.store.memory import MemoryStore
from tests.sync.world import Office, save, stored

if TYPE_CHECKING:
    from tests.sync.conftest import MakeOffice

LATE = Fault(late=True)
CONFLICT = f"/d (conflict of {socket.gethostname()} 1970-01-12)"
"""What has to go aside for somebody else's `/d` by the clock of these tests."""


class Slow(FaultyStore):
    """The next request of a kind comes late."""

    def __init__(self, inside: Store) -> None:
        super().__init__(inside, self._plan)
        self.inside = inside
        self._verb: str | None = None
        self._held = LATE

    def hold(self, verb: str, fault: Fault = LATE) -> None:
        self._verb, self._held = verb, fault

    def take(self) -> Callable[[], object]:
        """The late request, to be delivered by hand."""
        return self._late.popleft()

    def forget_all_but(self, number: int) -> None:
        """Only one of the late requests ever comes."""
        comes = self._late[number]
        self._late.clear()
        self._late.append(comes)

    def _plan(self, call: Call) -> Fault | None:
        if call.verb != self._verb:
            return None
        self._verb = None
        return self._held


class Careless(MemoryStore):
    """Takes whatever comes, also where it should look first."""

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, conditional_write=False)

    def store_fileobject(self, fileobject, path, *, condition=None, modified=None,  # type: ignore[no-untyped-def]
                         interrupt=None):
        return super().store_fileobject(fileobject, path, modified=modified, interrupt=interrupt)


class Place:
    """A share whose engine and listings are run by hand."""

    def __init__(self, office: Office, store: Slow, now: list[float]) -> None:
        self.office, self.share, self.store, self.inside, self._now = office, office.share, store, store.inside, now

    def lose_sight_of(self, verb: str, fault: Fault = LATE) -> None:
        """Carry what is to be carried; the next request of the kind is on its way, and nothing is seen of it."""
        self.store.hold(verb, fault)
        self.office.engine.run_due()
        assert self.share.index.view().operations.open(), f"{verb} was not asked"
        self.share.index.write(lambda view: view.nodes.hasten_failed(view.now()))

    def lose_upload(self, path: str, data: bytes, *, deleted: str) -> None:
        """Nobody sees the upload of a file; the file, or a folder above it, is deleted."""
        save(self.share, path, data)
        self.lose_sight_of("store_fileobject")
        self.share.delete(deleted)
        self.look()

    def lose_folder(self, path: str) -> None:
        """Nobody sees how a folder is made, and it is deleted."""
        self.share.make_folder(path)
        self.lose_sight_of("keep_directory")
        self.share.delete(path)
        self.look()

    def lose_removal(self, path: str) -> None:
        """Nobody sees the removal of a file that was in the store."""
        save(self.share, path, b"old")
        self.carry()
        self.share.delete(path)
        self.lose_sight_of("delete")

    def look(self) -> None:
        """See that the request has no effect, before anything else is done."""
        self.office.engine.run_due(limit=1)
        assert not self.share.index.view().operations.open(), "still in doubt"

    def wait(self, seconds: float) -> None:
        self._now[0] += seconds

    def carry(self, seconds: float = 0.0) -> None:
        """Time passes, and all is carried, listed and carried again."""
        self.wait(seconds)
        for _ in range(4):
            self.share.index.write(lambda view: view.nodes.hasten_failed(view.now()))
            self.office.engine.run_due()
            self.list_all()
        self.office.carry_all()

    def list_all(self) -> None:
        pending = [ROOT_ID]
        while pending:
            folder = pending.pop()
            record = self.share.index.view().nodes.get(folder)
            if record is not None and record.is_synced:
                self.share.lister.refresh(folder)
                pending += [child.id for child in self.share.index.view().nodes.children(folder) if child.is_folder]

    def operations(self) -> list[Operation]:
        """All that were ever noted and are remembered, by their order."""
        operations = self.share.index.view().operations
        return sorted({*operations.open(), *operations.late_below("")}, key=lambda operation: operation.id)

    def tree(self) -> dict[str, bytes | None]:
        """What clients see, without asking the store."""
        found: dict[str, bytes | None] = {}
        view = self.share.index.view()
        for record, path in list(view.nodes.subtree(ROOT_ID)):
            found[path] = None
            if not record.is_folder:
                with self.share.open(view.node(record, path)) as reader:
                    found[path] = reader.read()
        return found

    def assert_holds(self, expected: dict[str, bytes | None]) -> None:
        assert self.tree() == expected
        assert stored(self.inside) == expected

    def deliver(self, expected: dict[str, bytes | None], *, removes: bool = False) -> None:
        """The late request comes; clients see what is expected all the time, and in the end the store has it."""
        self.store.deliver()
        assert (stored(self.inside) == {}) is removes
        self.list_all()
        assert self.tree() == expected
        self.carry()
        self.assert_holds(expected)

    def evict(self) -> None:
        self.share.space.evict(10**12)


def make(make_office: MakeOffice, inside: Store) -> Place:
    now = [1_000_000.0]
    store = Slow(inside)
    return Place(make_office(store, clock=lambda: now[0]), store, now)
