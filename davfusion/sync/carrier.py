"""Carries one node one step towards the store: plan, note the intent, act, record the fact."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from random import Random

from davfusion.cache import synced, tree
from davfusion.cache.adopt import revive
from davfusion.cache.index import Operation, Record, View
from davfusion.cache.share import Share
from davfusion.store.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    OutOfSpaceError,
    StoreError,
    TemporaryError,
    TransferInterruptedError,
)
from davfusion.store.interface import Capabilities, Metadata
from davfusion.sync.facts import note_intent, owner, record_fact
from davfusion.sync.locked import held_back
from davfusion.sync.markers import Markers
from davfusion.sync.performer import Performer
from davfusion.sync.planner import plan
from davfusion.sync.proof import Prover
from davfusion.sync.retry import Backoff, Fullness
from davfusion.sync.settle import Settler
from davfusion.sync.situation import Survey, gather, survey
from davfusion.sync.statistics import Statistics
from davfusion.sync.steps import (
    Adopt,
    Copy,
    Delete,
    DeleteFolder,
    Detach,
    Fetch,
    Forget,
    ListFolder,
    MakeFolder,
    Move,
    MoveFolder,
    Park,
    Step,
    StoreStep,
    Upload,
    Wait,
)

log = logging.getLogger("davfusion.sync")

DETACH_BATCH = 500
_REFUSED = (ConflictError, AlreadyExistsError, NotFoundError)
"""The store is not as we know it; nothing was done."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to be done for the node."""

    answered: bool = False
    """The store did what was asked."""


@dataclass(frozen=True, slots=True)
class Again:
    """A step was taken; plan the node anew."""

    answered: bool = False
    """The store did what was asked."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The nodes must be carried first; none named: try again a little later."""

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Later:
    """Not before this time (seconds since the epoch)."""

    at: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The store could not be asked, or refused; the node says when it is due again."""

    error: StoreError


Outcome = Done | Again | Waits | Later | Failed


class Carrier:
    """Takes steps for nodes. Thread-safe; one node is carried by one thread at a time."""

    def __init__(self, share: Share, statistics: Statistics, markers: Markers, *, backoff: Backoff,
                 random: Random) -> None:
        self._share = share
        self._index = share.index
        self._store = share.store
        self._statistics = statistics
        self._markers = markers
        self._backoff = backoff
        self._random = random
        self._settler = Settler(share)
        self._performer = Performer(share, statistics)
        self._prover = Prover(share, self._settler)
        self._fullness = Fullness(share.index.now, pause=backoff.patient)
        self._refused_steps: dict[int, Step] = {}
        """What the store refused last, by node: the same once more is not tried at once."""
        self._under_way: set[int] = set()
        """Operations that a thread of this process is at: open, but not in doubt."""

    def carry(self, node: int, interrupt: threading.Event, *, deadlocked: bool = False,
              forced: bool = False) -> Outcome:
        """Take one step. `deadlocked`: what it waits for waits for it. `forced`: do not wait for locks."""
        try:
            return self._carry(node, interrupt, deadlocked=deadlocked, forced=forced)
        except TransferInterruptedError as error:
            return Again() if interrupt.is_set() else Failed(self._postpone(node, error))
        except _REFUSED as error:
            # Seen only while looking: what was looked at changed in the store at that moment.
            return Failed(self._postpone(node, TemporaryError(error.message, error.path)))
        except StoreError as error:
            return Failed(self._postpone(node, error))
        except Exception as error:
            log.exception("step failed unexpectedly", extra={"node": node})
            self._postpone(node, TemporaryError(f"Internal error: {error!r}"))
            return Done()

    def _carry(self, node: int, interrupt: threading.Event, *, deadlocked: bool, forced: bool) -> Outcome:
        view = self._index.view()
        doubtful = view.operations.open_of(node)
        if any(operation.id in self._under_way for operation in doubtful):
            return Waits(())  # another node's step does something for this one just now
        if doubtful:
            self._settler.settle(doubtful)
            return Again()
        record = view.nodes.get(node)
        if record is None or record.is_root:
            self._refused_steps.pop(node, None)
            return Done()
        if _is_in_place(view, record):
            return Done()
        below = survey(view, record, self._store.capabilities)
        step = self._plan(view, record, below, deadlocked)
        if isinstance(step, Upload):
            held = (None if forced else self._held_back(view, record)) or self._fullness.holds_until(record.size)
            if held is not None:
                return Later(held)
        if isinstance(step, StoreStep):
            return self._take(step, record, below, interrupt, deadlocked=deadlocked)
        if isinstance(step, Adopt) and not record.dirty and record.synced_path == step.path:
            return Done()
        return self._change_index(step, record, below, deadlocked=deadlocked)

    def _plan(self, view: View, record: Record, below: Survey, deadlocked: bool) -> Step:
        return plan(gather(view, record, self._store.capabilities, below, deadlocked=deadlocked))

    def _held_back(self, view: View, record: Record) -> float | None:
        """Until when a file that somebody has open for writing is held back."""
        path = view.nodes.path(record.id)
        return None if path is None else held_back(view, path, due=record.due)

    # -- steps of the store -------------------------------------------------------------------------

    def _take(self, step: StoreStep, record: Record, below: Survey, interrupt: threading.Event, *,
              deadlocked: bool) -> Outcome:
        if isinstance(step, (Upload, Copy, Move, Delete)) and not self._prover.may_go(step.path):
            return Again()
        if self._would_go_at_once(step):
            return Waits(())
        operations = self._index.write(lambda view: self._begin(view, step, record.id, below, deadlocked))
        if operations is None:
            return Again()
        try:
            return self._act_and_record(step, record, operations, interrupt)
        finally:
            self._under_way.difference_update(operation.id for operation in operations)

    def _act_and_record(self, step: StoreStep, record: Record, operations: list[Operation],
                        interrupt: threading.Event) -> Outcome:
        try:
            result = self._performer.perform(step, interrupt)
        except _REFUSED as error:
            return self._refused(step, record.id, operations, error)
        except StoreError as error:
            if isinstance(error, OutOfSpaceError):
                self._fullness.refused(record.size)
            if not error.retryable:
                return self._park(record.id, error.message, operations)
            if error.is_over:
                self._settler.note_over(operations)
            raise
        can = self._store.capabilities
        settled = self._index.write(lambda view: _recorded(view, step, record, operations, result, can))
        self._refused_steps.pop(record.id, None)
        if isinstance(step, Upload):
            self._fullness.accepted(record.size)
        log.info("carried", extra={"step": type(step).__name__, "path": _path(step), "node": record.id})
        return Done(answered=True) if settled else Again(answered=True)

    def _begin(self, view: View, step: StoreStep, node: int, below: Survey,
               deadlocked: bool) -> list[Operation] | None:
        """Note the intent, if the step is still right."""
        record = view.nodes.get(node)
        if record is None:
            return None
        situation = gather(view, record, self._store.capabilities, below, deadlocked=deadlocked)
        if plan(situation) != step or self._would_go_at_once(step):
            return None
        note_intent(view, step, situation)
        begun = [operation for about in {node, owner(step, node)} for operation in view.operations.open_of(about)
                 if not operation.late]  # one that came late in this moment stays in doubt
        self._under_way.update(operation.id for operation in begun)
        return begun

    def _would_go_at_once(self, step: Step) -> bool:
        """A marker that is put while the one before it is being removed could go with that."""
        return isinstance(step, MakeFolder) and self._markers.is_going(step.path)

    # -- steps of the index -------------------------------------------------------------------------

    def _change_index(self, step: Step, record: Record, below: Survey, *, deadlocked: bool) -> Outcome:
        match step:
            case Wait():
                return Waits(step.nodes)
            case ListFolder():
                return self._list(step.node)
            case Fetch():
                return self._fetch(step, record)
            case Park():
                return self._park(record.id, step.reason, [])
            case Adopt() | Forget() | Detach():
                return self._index.write(
                    lambda view: self._apply(view, step, record.id, below, deadlocked))
        raise AssertionError(step)

    def _apply(self, view: View, step: Adopt | Forget | Detach, node: int, below: Survey,
               deadlocked: bool) -> Outcome:
        record = view.nodes.get(node)
        if record is None:
            return Done()
        if self._plan(view, record, below, deadlocked) != step:
            return Again()
        match step:
            case Adopt():
                self._adopt(view, record, step.path)
                return Done()
            case Forget():
                synced.unsync(view, record)
                tree.detach(view, record, due=record.due)
                synced.forget(view, record.id)
                return Done()
            case Detach():
                for child in view.nodes.children_after(record.id, "", DETACH_BATCH):
                    tree.detach(view, child, due=record.due)
        return Again()

    def _adopt(self, view: View, record: Record, path: str) -> None:
        assert record.parent is not None
        folders = self._store.capabilities.folders
        occupant = view.nodes.at_store(*synced.place_of(path))
        if record.is_folder:
            marker = record.synced_version if record.synced_path == path else None
            if occupant is not None and occupant.id != record.id:
                marker = occupant.synced_version if occupant.is_folder else None
            synced.made_folder(view, record.id, path=path, parent=record.parent, marker=marker, folders=folders)
            view.nodes.update(record.id, scattered=0)
            return
        holder = occupant or record
        synced.wrote_file(
            view, record.id, path=path, parent=record.parent, content=record.content or 0,
            version=holder.synced_version, old_remains=True, folders=folders, confirmed=holder.confirmed)

    def _fetch(self, step: Fetch, record: Record) -> Outcome:
        try:
            kept = self._share.fetcher.fetch_whole(step.content)
        except (ConflictError, NotFoundError):
            return self._lost_source(step.content, record)
        if not kept:
            self._postpone(record.id, OutOfSpaceError("There is no room in the cache to bring the file here"))
            return Done()
        return Again()

    def _list(self, folder: int) -> Outcome:
        try:
            self._share.lister.refresh(folder)
        except NotFoundError as error:
            record = self._index.view().nodes.get(folder)
            if record is not None and not self._settler.reconsider(record.synced_path or "/", []):
                raise TemporaryError("The folder can be seen but not be listed", error.path) from error
        return Again()

    def _lost_source(self, content: int, record: Record) -> Outcome:
        """The object that was to be fetched changed: take in what is there now."""
        holders = self._index.view().nodes.holders(content)
        changed = [self._settler.reconsider(holder.synced_path or "/", []) for holder in holders]
        if not any(changed):
            raise TemporaryError("The store shows a file that it does not give out", record.synced_path)
        return Again() if self._index.view().nodes.get(record.id) is not None else Done()

    # -- failures -----------------------------------------------------------------------------------

    def _refused(self, step: StoreStep, node: int, operations: list[Operation], error: StoreError) -> Outcome:
        """Take in why, then plan anew; what is refused twice in a row waits before it is tried again."""
        log.info("store changed meanwhile", extra={"path": error.path, "problem": error.message})
        outcome = self._take_in_refusal(step, operations, error)
        if self._refused_steps.get(node) == step:
            raise TemporaryError(f"The store refuses again: {error.message}", step.path)
        self._refused_steps[node] = step
        self._statistics.failed(error)
        return outcome

    def _take_in_refusal(self, step: StoreStep, operations: list[Operation], error: StoreError) -> Outcome:
        if isinstance(step, DeleteFolder):
            self._see_what_came_late(step.path)
            self._index.write(lambda view: _leave_folder(view, step.path, operations))
            return Again()
        if isinstance(step, MoveFolder):
            return self._folder_refused(step, operations, error)
        changed = self._settler.reconsider(step.path, operations)
        if isinstance(step, (Copy, Move)):
            changed = self._settler.reconsider(step.source, []) or changed
        if not changed:
            raise TemporaryError(f"The store refuses although nothing changed there: {error.message}", step.path)
        return Again()

    def _see_what_came_late(self, path: str) -> None:
        view = self._index.view()
        folder = view.nodes.at_store(*synced.place_of(path))
        if folder is not None and view.operations.late_below(path):
            self._share.lister.refresh(folder.id)

    def _folder_refused(self, step: MoveFolder, operations: list[Operation], error: StoreError) -> Outcome:
        """It has moved all the same, or it is gone, or something that we did not know is at its new place."""
        self._settler.settle(operations)
        record = self._index.view().nodes.get(step.node)
        stays = record is not None and record.synced_path == step.source
        if stays and not self._settler.reconsider(step.path, []):
            raise TemporaryError(f"The store does not rename the folder: {error.message}", step.path)
        return Again()

    def _park(self, node: int, reason: str, operations: list[Operation]) -> Outcome:
        def change(view: View) -> None:
            view.nodes.update(node, parked=1, problem=reason)
            for operation in operations:
                view.operations.finish(operation.id, view.now())
        self._index.write(change)
        log.warning("parked", extra={"node": node, "reason": reason})
        return Done()

    def _postpone(self, node: int, error: StoreError) -> StoreError:
        """Note why and for how long the node has to wait; returns the error."""
        self._statistics.failed(error)

        def change(view: View) -> None:
            record = view.nodes.get(node)
            if record is None:
                return
            attempts = record.attempts + 1
            delay = self._backoff.delay(attempts, error, self._random)
            view.nodes.update(node, attempts=attempts, problem=error.message, due=view.now() + delay,
                              parked=int(not error.retryable))
        self._index.write(change)
        log.warning("postponed", extra={"node": node, "path": error.path, "problem": error.message})
        return error


def _path(step: StoreStep) -> str:
    return step.path


def _leave_folder(view: View, path: str, operations: list[Operation]) -> None:
    """A deleted folder has things in it that nobody here has seen: it comes back with them, if they are not ours."""
    for operation in operations:
        view.operations.finish(operation.id, view.now())
    folder = view.nodes.at_store(*synced.place_of(path))
    if folder is None or view.nodes.path(folder.id) is not None or view.operations.open_near(path):
        return
    view.nodes.relist(revive(view, folder).id)


def _recorded(view: View, step: StoreStep, record: Record, operations: list[Operation], result: Metadata | None,
              can: Capabilities) -> bool:
    """Record the fact; whether nothing is left to be done for the node."""
    record_fact(view, step, record, operations, result, can)
    now = view.nodes.get(record.id)
    return now is None or _is_in_place(view, now)


def _is_in_place(view: View, record: Record) -> bool:
    """The store has the node, and a folder all that is in it, as it is here and where it is here."""
    return not record.dirty and record.synced_path == view.nodes.path(record.id)
