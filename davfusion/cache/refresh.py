"""What a listing of the store means for one name: a pure decision.

Three sides are compared: what the store shows now, what it was known to hold (the synced side), and
what the local tree has. Changed on one side only: that side wins. Changed on both: both are kept; the
store's version keeps the name, ours gets another.
"""

from __future__ import annotations

from enum import Enum, auto

from davfusion.cache.index import Record
from davfusion.store.interface import Metadata


class Finding(Enum):
    """What is to be done in the index about one name of a listed folder."""

    SAME = auto()
    """Nothing changed."""
    CONFIRM = auto()
    """The store shows what we wrote."""
    ADD = auto()
    """New in the store: it appears here."""
    ADD_BESIDE = auto()
    """New in the store under a name that is taken here: ours is renamed, both stay."""
    JOIN = auto()
    """A folder of that name was made on both sides: it is one folder."""
    TAKE = auto()
    """Changed in the store only: the new version is taken."""
    TAKE_BESIDE = auto()
    """Changed on both sides: the store's keeps the name, ours becomes a file of its own."""
    REVIVE = auto()
    """Deleted here, changed in the store: it comes back."""
    REWRITE = auto()
    """What we wrote never showed up in the store: it is written, or removed, again."""
    REMOVE = auto()
    """Gone from the store and unchanged here: it goes."""
    KEEP = auto()
    """Gone from the store but changed here: ours is written as a new one."""
    FORGET = auto()
    """Gone on both sides."""
    REPLACE = auto()
    """A file became a folder or the other way round: the old goes, then the name is decided again."""


CHANGES_NOTHING = (Finding.SAME, Finding.CONFIRM)
"""Findings that need no second look at a store whose listings may be stale."""


def decide(shown: Metadata | None, known: Record | None, occupant: Record | None) -> Finding:
    """The finding for one name. `known` is the node with that synced path; `occupant` the local node of that name
    where no node is known, or where the known one left the local tree."""
    if known is None:
        return _unknown(shown, occupant)
    if shown is None:
        return _gone(known)
    if shown.is_dir != known.is_folder:
        return Finding.REPLACE
    if known.is_folder:
        return Finding.SAME if known.confirmed else Finding.CONFIRM
    if shown.version == known.synced_version:
        return Finding.SAME if known.confirmed else Finding.CONFIRM
    return _changed(shown, known)


def _unknown(shown: Metadata | None, occupant: Record | None) -> Finding:
    if shown is None:
        return Finding.SAME
    if occupant is None:
        return Finding.ADD
    if shown.is_dir and occupant.is_folder and not occupant.is_synced:
        return Finding.JOIN
    return Finding.ADD_BESIDE


def _gone(known: Record) -> Finding:
    if not known.is_local:
        return Finding.FORGET
    if known.is_folder:
        return Finding.REMOVE if known.confirmed else Finding.REWRITE
    if not known.confirmed and known.whole:
        return Finding.REWRITE
    if known.content != known.synced_content:
        return Finding.KEEP
    moved = known.parent != known.synced_parent or known.local_name != known.synced_name
    return Finding.KEEP if moved and known.whole else Finding.REMOVE


def _changed(shown: Metadata, known: Record) -> Finding:
    lost = not known.confirmed and known.was_replaced(shown.version)
    if lost and (known.whole or not known.is_local):
        return Finding.REWRITE
    if not known.is_local:
        return Finding.REVIVE
    return Finding.TAKE if known.content == known.synced_content else Finding.TAKE_BESIDE
