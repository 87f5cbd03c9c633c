"""What brings the store to the local state of one node: a pure function from its situation to one step.

It works on states, not on a log of what happened: carried out, interrupted or forgotten, the next plan
starts from what is. So it is idempotent, and many changes of one node are one step.

The order that keeps data: an object goes, or is overwritten, only when nobody needs its content from
there any more; nodes that stand in each other's way fetch a content first.
"""

from __future__ import annotations

from davfusion.cache.synced import MARKER
from davfusion.store.interface import Condition, IfAbsent, IfVersion
from davfusion.sync.situation import Occupant, Situation
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
    Upload,
    Wait,
)

COPY_FROM = 1_000_000
"""Bytes from which the store is asked to copy although the content is here."""


def plan(situation: Situation) -> Step:
    """The next step for this node."""
    if situation.busy:
        return Wait(situation.busy)
    return _plan_folder(situation) if situation.is_folder else _plan_file(situation)


def _plan_file(here: Situation) -> Step:
    if here.path is None:
        return _remove_file(here)
    return _update_file(here) if _is_in_place(here) else _place_file(here)


def _is_in_place(here: Situation) -> bool:
    """Whether the object is where it should be; not while another folder has the name of its own, and is to go."""
    above_in_place = here.blocked_by is None or not here.can.folders
    return here.synced is not None and here.synced.path == here.path and above_in_place


def _remove_file(here: Situation) -> Step:
    if here.synced is None:
        return Forget()
    if here.needed_by:
        return _let_go(here, here.needed_by, here.synced.content)
    if here.successor is not None and not here.deadlocked:
        return Wait((here.successor,))
    if here.keeps is not None:
        return MakeFolder(*here.keeps)
    return Delete(here.synced.path, here.synced.version)


def _update_file(here: Situation) -> Step:
    assert here.synced is not None and here.path is not None
    if here.synced.content == here.content:
        return Adopt(here.path)
    if here.needed_by:
        return _let_go(here, here.needed_by, here.synced.content)
    return _write(here, _if_version(here.synced.version))


def _place_file(here: Situation) -> Step:
    assert here.path is not None
    if here.blocked_by is not None and (here.can.folders or not here.deadlocked):
        return Wait((here.blocked_by,))
    condition: Condition = IfAbsent()
    if here.occupant is not None:
        if not here.occupant.is_folder and here.occupant.content == here.content:
            return Adopt(here.path)
        in_the_way = _clear_the_way(here, here.occupant)
        if in_the_way is not None:
            return in_the_way
        condition = _if_version(here.occupant.version)
    moved = here.synced is not None and here.synced.content == here.content
    if moved and here.can.atomic_move:
        assert here.synced is not None and here.content is not None
        return Move(here.synced.path, here.synced.version, here.path, here.content, condition)
    return _write(here, condition)


def _clear_the_way(here: Situation, occupant: Occupant) -> Step | None:
    """What must happen before the occupant's object may be overwritten; None when it may."""
    if occupant.is_folder:
        return _clear_folder(here, occupant)
    if occupant.is_local and not here.deadlocked:
        return Wait((occupant.node,))
    if occupant.is_local and not occupant.whole and occupant.content is not None:
        return Fetch(occupant.content)
    if occupant.needed_by:
        return _let_go(here, occupant.needed_by, occupant.content)
    return None


def _clear_folder(here: Situation, occupant: Occupant) -> Step:
    """Where folders are implied, a deleted one may wait for a file in it that is to take its place: its marker goes."""
    if not here.deadlocked:
        return Wait((occupant.node,))
    if not here.can.folders and not occupant.is_local:
        return DeleteFolder(here.path or "")
    return _move_aside(here, occupant)


def _write(here: Situation, condition: Condition) -> Step:
    assert here.path is not None and here.content is not None
    source = here.source
    if source is not None and here.can.server_side_copy and (not here.whole or here.size >= COPY_FROM):
        return Copy(source.path, source.version, here.path, here.content, condition)
    if here.whole:
        return Upload(here.path, here.content, condition)
    if source is not None:
        return Fetch(here.content)
    return Park("Its bytes are neither here nor in the store any more")


def _plan_folder(here: Situation) -> Step:
    if here.path is None:
        return _remove_folder(here)
    if here.synced is None:
        return _add_folder(here)
    if _is_in_place(here):
        return _settle_folder(here)
    return _rename_folder(here)


def _remove_folder(here: Situation) -> Step:
    if here.survey.unlisted is not None:
        return ListFolder(here.survey.unlisted)
    if here.has_children:
        return Detach()
    if here.synced is None:
        return Forget()
    if here.survey.below:
        return Wait(here.survey.below)
    if not here.can.folders and not here.marker:
        return Forget()
    if here.successor is not None and not here.deadlocked:
        return Wait((here.successor,))
    if here.keeps is not None:
        return MakeFolder(*here.keeps)
    return DeleteFolder(here.synced.path)


def _add_folder(here: Situation) -> Step:
    assert here.path is not None
    if here.blocked_by is not None and (here.can.folders or not here.deadlocked):
        return Wait((here.blocked_by,))
    if here.occupant is not None:
        if here.occupant.is_folder and not here.occupant.is_local:
            certain = here.can.folders or here.implied or here.occupant.version == MARKER
            return Adopt(here.path) if certain else MakeFolder(here.node, here.path)
        return _make_way_for_folder(here, here.occupant)
    if here.survey.below:
        return Wait(here.survey.below)
    return _make_folder(here, here.path)


def _settle_folder(here: Situation) -> Step:
    assert here.path is not None
    if here.survey.unlisted is not None:
        return ListFolder(here.survey.unlisted)
    return Wait(here.survey.below) if here.survey.below else Adopt(here.path)


def _rename_folder(here: Situation) -> Step:
    assert here.path is not None and here.synced is not None
    if here.blocked_by is not None and (here.can.folders or not here.deadlocked):
        return Wait((here.blocked_by,))
    merges = here.occupant is not None and here.occupant.is_folder and not here.can.folders
    if here.occupant is not None and not merges:
        return _make_way_for_folder(here, here.occupant)
    if here.can.atomic_move:
        return MoveFolder(here.node, here.synced.path, here.path)
    if here.survey.unlisted is not None:
        return ListFolder(here.survey.unlisted)
    if here.survey.below:
        return Wait(here.survey.below)
    return _make_folder(here, here.path)


def _make_folder(here: Situation, path: str) -> Step:
    """Where folders are implied, what is in it makes it; only an empty one needs a marker."""
    if here.can.folders:
        return MakeFolder(here.node, path)
    if here.implied:
        return Adopt(path)
    return Wait(()) if here.has_children else MakeFolder(here.node, path)


def _make_way_for_folder(here: Situation, occupant: Occupant) -> Step:
    if not here.deadlocked:
        return Wait((occupant.node,))
    return _move_aside(here, occupant)


def _move_aside(here: Situation, occupant: Occupant) -> Step:
    """Two that want each other's place: the one in the way goes to a place of its own first."""
    assert here.path is not None
    if occupant.is_folder and here.can.atomic_move:
        return MoveFolder(occupant.node, here.path, f"{here.path} (davfusion {occupant.node})")
    if occupant.is_folder:
        return Wait((occupant.node,))
    if not occupant.whole and occupant.content is not None:
        return Fetch(occupant.content)
    return Delete(here.path, occupant.version)


def _let_go(here: Situation, needed_by: tuple[int, ...], content: int | None) -> Step:
    """The object is the only place that has a content others need: they first, or the content comes here."""
    if here.deadlocked and content is not None:
        return Fetch(content)
    return Wait(needed_by)


def _if_version(version: str | None) -> Condition:
    return None if version is None else IfVersion(version)
