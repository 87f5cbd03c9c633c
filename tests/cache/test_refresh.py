"""`decide` against a table of every combination of the three sides."""

from __future__ import annotations

import itertools

import pytest

from davfusion.cache.index import Record
from davfusion.cache.refresh import Finding, decide
from davfusion.store.interface import Metadata


def shown(kind: str | None, version: str = "v1") -> Metadata | None:
    if kind is None:
        return None
    folder = kind == "folder"
    return Metadata("/a", is_dir=folder, bytes=0 if folder else 3, modified=1.0, version=None if folder else version)


def record(**changes: object) -> Record:
    """A file /a that is in the store as it is here, seen there since it was written."""
    values: dict[str, object] = {
        "id": 5, "is_folder": False, "parent": 1, "local_name": "a", "content": 7, "modified": 1.0, "created": 1.0,
        "media_type": None, "synced_parent": 1, "synced_folder": "", "synced_name": "a", "synced_content": 7,
        "synced_version": "v1", "replaced": None, "confirmed": True, "listed": None, "scattered": False, "due": 0.0,
        "waiting": None, "attempts": 0, "problem": None, "parked": False, "dirty": False, "size": 3, "whole": True}
    return Record(**(values | changes))  # type: ignore[arg-type]


FOLDER = {"is_folder": True, "content": None, "synced_content": None, "synced_version": None, "size": 0,
          "whole": False}
GONE_HERE = {"parent": None, "local_name": None, "content": None, "whole": False}
NEW_HERE = {"synced_parent": None, "synced_folder": None, "synced_name": None, "synced_content": None,
            "synced_version": None, "confirmed": False}

UNKNOWN = [
    ("nothing anywhere", None, None, Finding.SAME),
    ("only here", None, record(**NEW_HERE), Finding.SAME),
    ("new file there", "file", None, Finding.ADD),
    ("new folder there", "folder", None, Finding.ADD),
    ("a file on both sides", "file", record(**NEW_HERE), Finding.ADD_BESIDE),
    ("a file there, a folder here", "file", record(**(FOLDER | NEW_HERE)), Finding.ADD_BESIDE),
    ("a folder there, a file here", "folder", record(**NEW_HERE), Finding.ADD_BESIDE),
    ("a folder on both sides", "folder", record(**(FOLDER | NEW_HERE)), Finding.JOIN),
    ("a folder there, one moved here", "folder", record(**(FOLDER | {"synced_name": "z"})), Finding.ADD_BESIDE),
    ("a file there, one moved here", "file", record(synced_name="z"), Finding.ADD_BESIDE),
]


@pytest.mark.parametrize(("seen", "occupant", "expected"), [row[1:] for row in UNKNOWN],
                         ids=[row[0] for row in UNKNOWN])
def test_a_name_that_was_not_known(seen: str | None, occupant: Record | None, expected: Finding) -> None:
    assert decide(shown(seen), None, occupant) is expected


KNOWN_FILE = [
    ("unchanged", "v1", {}, Finding.SAME),
    ("changed here", "v1", {"content": 8}, Finding.SAME),
    ("moved here", "v1", {"local_name": "b"}, Finding.SAME),
    ("deleted here", "v1", GONE_HERE, Finding.SAME),
    ("written and now seen", "v1", {"confirmed": False}, Finding.CONFIRM),
    ("written, seen, changed again here", "v1", {"confirmed": False, "content": 8}, Finding.CONFIRM),
    ("written, seen, deleted here", "v1", {"confirmed": False} | GONE_HERE, Finding.CONFIRM),
    ("changed there", "v2", {}, Finding.TAKE),
    ("changed there, moved here", "v2", {"local_name": "b"}, Finding.TAKE),
    ("changed there, not held here", "v2", {"whole": False}, Finding.TAKE),
    ("changed on both sides", "v2", {"content": 8}, Finding.TAKE_BESIDE),
    ("changed on both sides, ours unconfirmed", "v2", {"content": 8, "confirmed": False}, Finding.TAKE_BESIDE),
    ("deleted here, changed there", "v2", GONE_HERE, Finding.REVIVE),
    ("our write is not there, what it replaced is", "v0", {"confirmed": False, "replaced": "v0"}, Finding.REWRITE),
    ("the same, but the bytes are not here", "v0", {"confirmed": False, "replaced": "v0", "whole": False},
     Finding.TAKE),
    ("our last write is not there, what the one before replaced is", "v0",
     {"confirmed": False, "replaced": "v0\nv00"}, Finding.REWRITE),
    ("our write is not there, and was changed again here", "v0",
     {"confirmed": False, "replaced": "v0", "content": 8}, Finding.REWRITE),
    ("our write is not there, and was deleted here", "v0", GONE_HERE | {"confirmed": False, "replaced": "v0"},
     Finding.REWRITE),
    ("our write was overwritten at once", "v2", {"confirmed": False, "replaced": "v0"}, Finding.TAKE),
    ("an old version is back although ours was seen", "v0", {"replaced": "v0"}, Finding.TAKE),
    ("gone there", None, {}, Finding.REMOVE),
    ("gone there, not held here", None, {"whole": False}, Finding.REMOVE),
    ("gone there, changed here", None, {"content": 8}, Finding.KEEP),
    ("gone there, renamed here", None, {"local_name": "b"}, Finding.KEEP),
    ("gone there, moved here", None, {"parent": 3}, Finding.KEEP),
    ("gone there, moved here, not held here", None, {"parent": 3, "whole": False}, Finding.REMOVE),
    ("gone on both sides", None, GONE_HERE, Finding.FORGET),
    ("gone there, deleted here before it was seen", None, GONE_HERE | {"confirmed": False}, Finding.FORGET),
    ("written, never seen", None, {"confirmed": False}, Finding.REWRITE),
    ("written, never seen, not held here", None, {"confirmed": False, "whole": False}, Finding.REMOVE),
    ("written, never seen, changed again here", None, {"confirmed": False, "content": 8}, Finding.REWRITE),
]


@pytest.mark.parametrize(("version", "changes", "expected"), [row[1:] for row in KNOWN_FILE],
                         ids=[row[0] for row in KNOWN_FILE])
def test_a_known_file(version: str | None, changes: dict[str, object], expected: Finding) -> None:
    seen = None if version is None else shown("file", version)
    assert decide(seen, record(**changes), None) is expected


KNOWN_FOLDER = [
    ("unchanged", "folder", {}, Finding.SAME),
    ("moved here", "folder", {"local_name": "b"}, Finding.SAME),
    ("deleted here", "folder", GONE_HERE, Finding.SAME),
    ("gone there", None, {}, Finding.REMOVE),
    ("gone there, moved here", None, {"local_name": "b"}, Finding.REMOVE),
    ("gone on both sides", None, GONE_HERE, Finding.FORGET),
    ("made and now seen", "folder", {"confirmed": False}, Finding.CONFIRM),
    ("made, not surely seen, and gone", None, {"confirmed": False}, Finding.REWRITE),
    ("became a file", "file", {}, Finding.REPLACE),
    ("became a file, deleted here", "file", GONE_HERE, Finding.REPLACE),
]


@pytest.mark.parametrize(("seen", "changes", "expected"), [row[1:] for row in KNOWN_FOLDER],
                         ids=[row[0] for row in KNOWN_FOLDER])
def test_a_known_folder(seen: str | None, changes: dict[str, object], expected: Finding) -> None:
    assert decide(shown(seen), record(**(FOLDER | changes)), None) is expected


def test_a_known_file_became_a_folder() -> None:
    for changes in ({}, {"content": 8}, GONE_HERE, {"confirmed": False}):
        assert decide(shown("folder"), record(**changes), None) is Finding.REPLACE


def test_the_tables_reach_every_finding() -> None:
    reached = {row[-1] for row in (*UNKNOWN, *KNOWN_FILE, *KNOWN_FOLDER)}
    assert reached == set(Finding)


def test_a_file_that_was_changed_here_is_never_dropped_nor_overwritten() -> None:
    """All combinations: whatever the store shows, bytes that only this machine has stay reachable."""
    harmful = {Finding.REMOVE, Finding.TAKE, Finding.FORGET, Finding.REVIVE}
    for seen, confirmed, replaced, whole, moved in itertools.product(
            (None, "v0", "v1", "v2"), (True, False), (None, "v0"), (True, False), (True, False)):
        known = record(content=8, confirmed=confirmed, replaced=replaced, whole=whole,
                       local_name="b" if moved else "a")
        found = decide(None if seen is None else shown("file", seen), known, None)
        assert found not in harmful, (seen, known)


def test_a_write_that_no_listing_has_shown_is_never_dropped() -> None:
    for moved, replaced in itertools.product((True, False), (None, "v0")):
        known = record(confirmed=False, replaced=replaced, local_name="b" if moved else "a")
        assert decide(None, known, None) is Finding.REWRITE
