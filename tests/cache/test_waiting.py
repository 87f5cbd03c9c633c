"""Writers that others keep waiting: they get an error in time, and what they wanted is not done later."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from davfusion.cache.index import Index, View, database
from davfusion.store.errors import TemporaryError
from tests.sync.world import until


@contextmanager
def turn_of_another(state: Path) -> Iterator[None]:
    """As a process has it that was stopped in the middle of a commit."""
    with (state / "index.db.turn").open("rb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def note(index: Index, name: str) -> None:
    index.write(lambda view: view.operations.set_meta(name, "yes"))


def noted(view: View, name: str) -> bool:
    return view.operations.meta(name) == "yes"


def test_a_write_behind_one_that_is_stuck_fails_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(tmp_path / "index.db")
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.3)
    with turn_of_another(tmp_path):
        stuck = threading.Thread(target=note, args=(index, "stuck"))
        stuck.start()
        until(index._database._writing.locked)
        until(lambda: not index._database._queue)
        with pytest.raises(TemporaryError):
            note(index, "behind")
    stuck.join(20)
    assert noted(index.view(), "stuck")
    assert not noted(index.view(), "behind")
    note(index, "behind")
    assert noted(index.view(), "behind")
    index.close()


def test_an_index_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    maker = sqlite3.connect(tmp_path / "index.db", isolation_level=None, check_same_thread=False)
    maker.execute("CREATE TABLE other (x)")
    maker.execute("BEGIN IMMEDIATE")
    opened: list[Index | Exception] = []

    def open_index() -> None:
        try:
            opened.append(Index(tmp_path / "index.db"))
        except Exception as error:
            opened.append(error)

    opening = threading.Thread(target=open_index)
    opening.start()
    until(lambda: (tmp_path / "index.db.turn").exists() or opened)
    opening.join(0.2)
    maker.execute("COMMIT")
    maker.close()
    opening.join(20)
    assert isinstance(opened[0], Index), opened
    opened[0].close()
