"""`davfusion check --store`, as people run it: beside a server, with and without something to find."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from davfusion.chunks import volume
from tests.cli.recovering import SERVE, davfusion, fill
from tests.clients.serving import served
from tests.clients.webdav import Client


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a state directory that belongs to it. Not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "store").mkdir()
    with served(str(folder / "store"), *SERVE, state=folder / "state") as server:
        fill(server)
        assert server.stop() == 0
    return folder


@pytest.fixture
def place(original: Path, tmp_path: Path) -> Path:
    """A copy of the store and a state directory with the share in it."""
    shutil.copytree(original / "store", tmp_path / "store")
    done = davfusion("recover", tmp_path / "store", "--state", tmp_path / "state")
    assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.parametrize("options", [(), ("--store",), ("--store", "--deep")])
def test_a_sound_share(place: Path, options: tuple[str, ...]) -> None:
    done = davfusion("check", "--state", place / "state", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "83 files" in done.stdout
    assert " 0 problems" in done.stdout


def test_beside_a_server_that_is_written_to(place: Path) -> None:
    with served(str(place / "store"), *SERVE, state=place / "state") as server:
        stop = threading.Event()

        def save() -> None:
            client, number = Client(server.url), 0
            while not stop.wait(0.02):
                client.put(f"/busy {number % 20}", f"{number}".encode() * 500)
                number += 1
        saving = threading.Thread(target=save)
        saving.start()
        try:
            done = [server.davfusion("check", "--store", "--deep") for _ in range(3)]
        finally:
            stop.set()
            saving.join()
        server.sync()
        quiet = server.davfusion("check", "--store")
    assert [each.returncode for each in done] == [0, 0, 0], "".join(each.stdout + each.stderr for each in done)
    assert quiet.returncode == 0, quiet.stdout
    assert "not compared" not in quiet.stdout


def test_orphans_are_counted_and_listed(place: Path) -> None:
    path = volume.archive_path("0" * 32)
    (place / "store" / path[1:]).write_bytes(b"left by a crash")
    done = davfusion("check", "--state", place / "state", "--store")
    assert (done.returncode, "1 objects to which nothing refers" in done.stdout) == (0, True)
    assert path not in done.stdout
    done = davfusion("check", "--state", place / "state", "--store", "--verbose")
    assert path in done.stdout


def test_a_missing_marker(place: Path) -> None:
    (place / "store" / "davfusion.json").unlink()
    done = davfusion("check", "--state", place / "state", "--store")
    assert done.returncode == 4
    assert "/davfusion.json: the marker of the share is missing" in done.stdout


def test_the_end_of_the_journal_is_missing(place: Path) -> None:
    max((place / "store" / "journal").iterdir()).unlink()
    done = davfusion("check", "--state", place / "state", "--store")
    assert done.returncode == 4
    assert "the newest are missing" in done.stdout


@pytest.mark.parametrize(("statement", "where", "text"), [
    ("DELETE FROM node WHERE name = 'tail.bin'", "/tail.bin", "the journal has it, the index does not"),
    ("UPDATE node SET synced_name = 'other', name = 'other' WHERE name = 'tail.bin'", "/tail.bin", "differently"),
    ("UPDATE part SET start = start + 1 WHERE content = (SELECT content FROM node WHERE name = '05 ☃.txt' LIMIT 1)",
     "05 ☃.txt", "other places"),
    ("INSERT INTO node (folder, parent, name, modified, created, synced_parent, synced_folder, synced_name, confirmed) "
     "VALUES (1, 1, 'ghost', 0, 0, 1, '#x', 'ghost', 1)", "/ghost", "the index has it, the journal does not"),
])
def test_an_index_that_differs(place: Path, statement: str, where: str, text: str) -> None:
    with closing(sqlite3.connect(place / "state/shares/files/index.db")) as database, database:
        database.execute(statement)
    done = davfusion("check", "--state", place / "state", "--store")
    assert done.returncode == 4, done.stdout
    assert any(where in line and text in line for line in done.stdout.splitlines()), done.stdout


def test_plain_shares_are_compared_with_their_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with served(str(tmp_path / "store"), "--upload-delay", "0", state=tmp_path / "state") as server:
        Client(server.url).put("/a.txt", b"a")
        server.sync()
        assert server.davfusion("check", "--store").returncode == 0
        (tmp_path / "store" / "a.txt").write_bytes(b"changed behind its back")
        done = server.davfusion("check", "--store")
    assert (done.returncode, "/a.txt: changed in the store" in done.stdout) == (4, True)
