"""The planner: a table of every branch, and what holds for every situation there can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davfusion.store.interface import Capabilities, IfAbsent, IfVersion
from davfusion.sync.planner import COPY_FROM, plan
from davfusion.sync.situation import Occupant, Place, Situation, Survey
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

DISK = Capabilities(
    folders=True, atomic_move=True, server_side_copy=True, conditional_write=True, conditional_delete=True,
    conditional_read=True, recursive_listing=True, keeps_modified=True, strong_consistency=True,
    case_sensitive=True, max_filesize=10**12)
BUCKET = replace(DISK, folders=False, atomic_move=False)
PLAIN = replace(DISK, atomic_move=False, server_side_copy=False)

FILE = Situation(
    node=7, is_folder=False, path="/d/f", parent=2, content=70, size=10, whole=True, synced=None, marker=False,
    needed_by=(), occupant=None, blocked_by=None, source=None, has_children=False, implied=False, survey=Survey(),
    keeps=None, successor=None, busy=(), deadlocked=False, can=DISK)
FOLDER = replace(FILE, is_folder=True, path="/d", content=None, size=0, whole=False)
HERE = Place("/d/f", 69, "v69")
"""The object is where it should be, with older bytes."""
ELSEWHERE = Place("/old", 70, "v70")
DIRECTORY = Place("/d", None, None)
STRANGER = Occupant(node=9, is_folder=False, is_local=False, content=90, version="v90", whole=True, needed_by=())

FILES: dict[str, tuple[dict[str, Any], Step]] = {
    "new": ({}, Upload("/d/f", 70, IfAbsent())),
    "busy": ({"busy": (3, 4)}, Wait((3, 4))),
    "changed": ({"synced": HERE}, Upload("/d/f", 70, IfVersion("v69"))),
    "changed, version unknown": ({"synced": Place("/d/f", 69, None)}, Upload("/d/f", 70, None)),
    "in place": ({"synced": Place("/d/f", 70, "v")}, Adopt("/d/f")),
    "changed, old bytes needed": ({"synced": HERE, "needed_by": (5,)}, Wait((5,))),
    "changed, old bytes needed, deadlock": (
        {"synced": HERE, "needed_by": (5,), "deadlocked": True}, Fetch(69)),
    "renamed": ({"synced": ELSEWHERE}, Move("/old", "v70", "/d/f", 70, IfAbsent())),
    "renamed and changed": ({"synced": Place("/old", 69, "v")}, Upload("/d/f", 70, IfAbsent())),
    "renamed, no renames": ({"synced": ELSEWHERE, "can": PLAIN}, Upload("/d/f", 70, IfAbsent())),
    "renamed, no renames, not here": (
        {"synced": ELSEWHERE, "source": ELSEWHERE, "whole": False, "can": PLAIN}, Fetch(70)),
    "renamed in a bucket, not here": (
        {"synced": ELSEWHERE, "source": ELSEWHERE, "whole": False, "can": BUCKET},
        Copy("/old", "v70", "/d/f", 70, IfAbsent())),
    "small, renamed in a bucket": (
        {"synced": ELSEWHERE, "source": ELSEWHERE, "can": BUCKET}, Upload("/d/f", 70, IfAbsent())),
    "large, renamed in a bucket": (
        {"synced": ELSEWHERE, "source": ELSEWHERE, "size": COPY_FROM, "can": BUCKET},
        Copy("/old", "v70", "/d/f", 70, IfAbsent())),
    "bytes nowhere": ({"whole": False}, Park("Its bytes are neither here nor in the store any more")),
    "folder not in place": ({"blocked_by": 2}, Wait((2,))),
    "folder not in place, deadlock": ({"blocked_by": 2, "deadlocked": True}, Wait((2,))),
    "a file where a folder should be, deadlock": (
        {"blocked_by": 2, "deadlocked": True, "can": BUCKET}, Upload("/d/f", 70, IfAbsent())),
    "over a deleted file": ({"occupant": STRANGER}, Upload("/d/f", 70, IfVersion("v90"))),
    "over a deleted file of the same bytes": (
        {"occupant": replace(STRANGER, content=70)}, Adopt("/d/f")),
    "over a file that moves away": ({"occupant": replace(STRANGER, is_local=True)}, Wait((9,))),
    "over a file that wants ours": (
        {"occupant": replace(STRANGER, is_local=True), "deadlocked": True}, Upload("/d/f", 70, IfVersion("v90"))),
    "over a file that wants ours, not here": (
        {"occupant": replace(STRANGER, is_local=True, whole=False), "deadlocked": True}, Fetch(90)),
    "over a deleted file that others need": ({"occupant": replace(STRANGER, needed_by=(5,))}, Wait((5,))),
    "over a deleted file that others need, deadlock": (
        {"occupant": replace(STRANGER, needed_by=(5,)), "deadlocked": True}, Fetch(90)),
    "over a folder": ({"occupant": replace(STRANGER, is_folder=True)}, Wait((9,))),
    "over a folder, deadlock": (
        {"occupant": replace(STRANGER, is_folder=True), "deadlocked": True},
        MoveFolder(9, "/d/f", "/d/f (davfusion 9)")),
    "over a folder, deadlock, in a bucket": (
        {"occupant": replace(STRANGER, is_folder=True, is_local=True), "deadlocked": True, "can": BUCKET},
        Wait((9,))),
    "over a deleted folder, deadlock, in a bucket": (
        {"occupant": replace(STRANGER, is_folder=True), "deadlocked": True, "can": BUCKET}, DeleteFolder("/d/f")),
    "deleted": ({"path": None, "synced": HERE}, Delete("/d/f", "v69")),
    "deleted before it travelled": ({"path": None}, Forget()),
    "deleted, bytes needed": ({"path": None, "synced": HERE, "needed_by": (5,)}, Wait((5,))),
    "deleted, bytes needed, deadlock": (
        {"path": None, "synced": HERE, "needed_by": (5,), "deadlocked": True}, Fetch(69)),
    "deleted, last in its folder": (
        {"path": None, "synced": HERE, "keeps": (2, "/d"), "can": BUCKET}, MakeFolder(2, "/d")),
    "replaced": ({"path": None, "synced": HERE, "successor": 8}, Wait((8,))),
    "replaced, last in its folder": (
        {"path": None, "synced": HERE, "successor": 8, "keeps": (2, "/d"), "can": BUCKET}, Wait((8,))),
    "replaced, deadlock": ({"path": None, "synced": HERE, "successor": 8, "deadlocked": True}, Delete("/d/f", "v69")),
}

FOLDERS: dict[str, tuple[dict[str, Any], Step]] = {
    "new": ({}, MakeFolder(7, "/d")),
    "busy": ({"busy": (3,)}, Wait((3,))),
    "new in a bucket": ({"can": BUCKET}, MakeFolder(7, "/d")),
    "new in a bucket, members to come": ({"can": BUCKET, "has_children": True}, Wait(())),
    "new in a bucket, members there": ({"can": BUCKET, "implied": True}, Adopt("/d")),
    "new, folder above not in place": ({"blocked_by": 3}, Wait((3,))),
    "new, a deleted folder is there": (
        {"occupant": replace(STRANGER, is_folder=True)}, Adopt("/d")),
    "new, another folder is there": (
        {"occupant": replace(STRANGER, is_folder=True, is_local=True)}, Wait((9,))),
    "new, a file is there": ({"occupant": STRANGER}, Wait((9,))),
    "new, a file is there, deadlock": ({"occupant": STRANGER, "deadlocked": True}, Delete("/d", "v90")),
    "new, a file is there, deadlock, its bytes nowhere else": (
        {"occupant": replace(STRANGER, whole=False), "deadlocked": True}, Fetch(90)),
    "new, another folder is there, deadlock": (
        {"occupant": replace(STRANGER, is_folder=True, is_local=True), "deadlocked": True},
        MoveFolder(9, "/d", "/d (davfusion 9)")),
    "in place": ({"synced": DIRECTORY}, Adopt("/d")),
    "in place, members elsewhere": ({"synced": DIRECTORY, "survey": Survey(below=(4,))}, Wait((4,))),
    "in place, not listed": ({"synced": DIRECTORY, "survey": Survey(unlisted=7)}, ListFolder(7)),
    "renamed": ({"synced": Place("/o", None, None)}, MoveFolder(7, "/o", "/d")),
    "renamed, folder above not in place": ({"synced": Place("/o", None, None), "blocked_by": 3}, Wait((3,))),
    "renamed over a file": ({"synced": Place("/o", None, None), "occupant": STRANGER}, Wait((9,))),
    "renamed in a bucket": (
        {"synced": Place("/o", None, None), "survey": Survey(below=(4, 5)), "can": BUCKET}, Wait((4, 5))),
    "renamed in a bucket, not listed": (
        {"synced": Place("/o", None, None), "survey": Survey(unlisted=4), "can": BUCKET}, ListFolder(4)),
    "renamed in a bucket, members there": (
        {"synced": Place("/o", None, None), "implied": True, "can": BUCKET}, Adopt("/d")),
    "renamed in a bucket, empty": ({"synced": Place("/o", None, None), "can": BUCKET}, MakeFolder(7, "/d")),
    "deleted": ({"path": None, "synced": DIRECTORY}, DeleteFolder("/d")),
    "deleted, never listed": ({"path": None, "synced": DIRECTORY, "survey": Survey(unlisted=7)}, ListFolder(7)),
    "deleted, with members": ({"path": None, "synced": DIRECTORY, "has_children": True}, Detach()),
    "deleted, objects below": ({"path": None, "synced": DIRECTORY, "survey": Survey(below=(4,))}, Wait((4,))),
    "deleted before it travelled": ({"path": None}, Forget()),
    "deleted in a bucket": ({"path": None, "synced": DIRECTORY, "can": BUCKET}, Forget()),
    "deleted in a bucket, marker": (
        {"path": None, "synced": DIRECTORY, "marker": True, "can": BUCKET}, DeleteFolder("/d")),
    "deleted in a bucket, marker, last in its folder": (
        {"path": None, "synced": DIRECTORY, "marker": True, "keeps": (2, "/"), "can": BUCKET}, MakeFolder(2, "/")),
    "deleted in a bucket, marker, another one of that name comes": (
        {"path": None, "synced": DIRECTORY, "marker": True, "successor": 8, "can": BUCKET}, Wait((8,))),
    "new in a bucket, over a deleted one with a marker": (
        {"occupant": replace(STRANGER, is_folder=True, version="marker"), "can": BUCKET}, Adopt("/d")),
    "new in a bucket, over a deleted one whose marker is in doubt": (
        {"occupant": replace(STRANGER, is_folder=True, version="marker in doubt"), "can": BUCKET}, MakeFolder(7, "/d")),
}


@pytest.mark.parametrize("case", FILES)
def test_files(case: str) -> None:
    changes, step = FILES[case]
    assert plan(replace(FILE, **changes)) == step


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(case: str) -> None:
    changes, step = FOLDERS[case]
    assert plan(replace(FOLDER, **changes)) == step


# -- every situation ----------------------------------------------------------------------------------

paths = st.sampled_from(["/a", "/b", "/d/f", "/d/g"])
contents = st.integers(1, 4)
versions = st.none() | st.sampled_from(["v1", "v2"])
nodes = st.lists(st.integers(20, 30), max_size=2, unique=True).map(tuple)
places = st.builds(Place, paths, contents, versions)
occupants = st.builds(
    Occupant, node=st.integers(40, 50), is_folder=st.booleans(), is_local=st.booleans(), content=contents,
    version=versions, whole=st.booleans(), needed_by=nodes)
capabilities = st.sampled_from([DISK, BUCKET, PLAIN, replace(BUCKET, server_side_copy=False),
                                replace(DISK, folders=False)])
files = st.builds(
    Situation, node=st.just(7), is_folder=st.just(False), path=st.none() | paths, parent=st.just(1), content=contents,
    size=st.sampled_from([0, 10, COPY_FROM]), whole=st.booleans(), synced=st.none() | places, marker=st.just(False),
    needed_by=nodes, occupant=st.none() | occupants, blocked_by=st.none() | st.integers(60, 61),
    source=st.none() | places, has_children=st.just(False), implied=st.just(False), survey=st.just(Survey()),
    keeps=st.none() | st.just((2, "/d")), successor=st.none() | st.integers(70, 71), busy=nodes,
    deadlocked=st.booleans(), can=capabilities)
folders = st.builds(
    Situation, node=st.just(7), is_folder=st.just(True), path=st.none() | paths, parent=st.just(1),
    content=st.none(), size=st.just(0), whole=st.just(False),
    synced=st.none() | st.builds(Place, paths, st.none(), st.none()), marker=st.booleans(), needed_by=st.just(()),
    occupant=st.none() | occupants, blocked_by=st.none() | st.integers(60, 61), source=st.none(),
    has_children=st.booleans(), implied=st.booleans(),
    survey=st.builds(Survey, below=nodes, unlisted=st.none() | st.integers(80, 81)),
    keeps=st.none() | st.just((2, "/d")), successor=st.none(), busy=nodes, deadlocked=st.booleans(), can=capabilities)
situations = files | folders
many = settings(max_examples=400, deadline=None)


@many
@given(situations)
def test_planning_again_says_the_same(here: Situation) -> None:
    assert plan(here) == plan(here)


@many
@given(files)
def test_nothing_is_overwritten_blindly(here: Situation) -> None:
    step = plan(here)
    if not isinstance(step, (Upload, Copy, Move)):
        return
    assert step.path == here.path
    there = here.synced if here.synced is not None and here.synced.path == here.path else here.occupant
    if there is None:
        assert step.condition == IfAbsent()
    else:
        assert step.condition == (None if there.version is None else IfVersion(there.version))


@many
@given(files)
def test_nothing_is_removed_but_the_version_that_is_known(here: Situation) -> None:
    step = plan(here)
    if isinstance(step, Delete):
        assert here.synced is not None
        assert (step.path, step.version) == (here.synced.path, here.synced.version)


@many
@given(files)
def test_an_object_whose_bytes_others_need_is_left_alone(here: Situation) -> None:
    step = plan(here)
    if here.synced is not None and here.needed_by and isinstance(step, (Upload, Copy, Move, Delete)):
        assert not isinstance(step, Delete)
        assert here.synced.path != here.path or here.synced.content == here.content
    if here.occupant is not None and isinstance(step, (Upload, Copy, Move)) and step.path != getattr(
            here.synced, "path", None):
        assert not here.occupant.needed_by
        assert here.occupant.whole or not here.occupant.is_local


@many
@given(folders)
def test_a_file_in_the_way_of_a_folder_goes_only_when_its_bytes_are_here(here: Situation) -> None:
    step = plan(here)
    if isinstance(step, Delete):
        assert here.occupant is not None and not here.occupant.is_folder
        assert here.occupant.whole and step.version == here.occupant.version


@many
@given(situations)
def test_what_is_deleted_writes_no_file(here: Situation) -> None:
    if here.path is None:
        assert not isinstance(plan(here), (Upload, Copy, Move, Adopt, MoveFolder, Park))


@many
@given(situations)
def test_a_folder_with_anything_below_it_is_not_deleted(here: Situation) -> None:
    if isinstance(plan(here), DeleteFolder):
        if not here.is_folder:
            assert here.deadlocked and not here.can.folders and here.occupant is not None
            assert here.occupant.is_folder and not here.occupant.is_local
            return
        assert here.path is None
        assert not here.survey.below and here.survey.unlisted is None and not here.has_children


@many
@given(situations)
def test_nothing_is_asked_that_the_store_cannot_do(here: Situation) -> None:
    step = plan(here)
    if isinstance(step, (Move, MoveFolder)):
        assert here.can.atomic_move
    if isinstance(step, Copy):
        assert here.can.server_side_copy
    if isinstance(step, Upload):
        assert here.whole


@many
@given(situations)
def test_while_others_write_nearby_nothing_is_done(here: Situation) -> None:
    if here.busy:
        assert plan(here) == Wait(here.busy)


@many
@given(files)
def test_bytes_that_are_somewhere_are_never_given_up(here: Situation) -> None:
    if isinstance(plan(here), Park):
        assert not here.whole and here.source is None
