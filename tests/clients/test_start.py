"""Starting is fast, with nothing and with much to take over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.serving import served
from tests.clients.webdav import Client

FOLDERS = 200
FILES = 1_000
DIRTY = 1_000


def test_an_empty_start(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    times = []
    for number in range(3):
        with served(str(tmp_path / "store"), state=tmp_path / f"state-{number}") as server:
            times.append(server.started_in)
    assert min(times) < 1.0, times


@pytest.mark.timeout(600)
def test_a_start_with_200_000_nodes_and_1_000_dirty(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for folder in range(FOLDERS):
        (store / f"folder-{folder:03}").mkdir(parents=True)
        for number in range(FILES):
            (store / f"folder-{folder:03}" / f"file-{number:04}").touch()
    state = tmp_path / "state"
    options = ("--upload-delay", "3600", "--revalidate-after", "3600", "--durability", "process-safe")
    with served(str(store), *options, state=state) as server:
        client = Client(server.url)
        client.request("MKCOL", "/dirty")
        with ThreadPoolExecutor(4) as pool:
            clients = [Client(server.url) for _ in range(4)]
            listed = pool.map(lambda number: len(clients[number % 4].list(f"/folder-{number:03}")), range(FOLDERS))
            assert set(listed) == {FILES}
            saved = pool.map(lambda number: clients[number % 4].put(f"/dirty/{number}", b"%d" % number).status_code,
                             range(DIRTY))
            assert set(saved) == {201}
        assert server.stop() == 0
    times = []
    for _ in range(2):
        with served(str(store), *options, state=state) as server:
            times.append(server.started_in)
            assert len(Client(server.url).list("/folder-100")) == FILES
            assert Client(server.url).get("/dirty/77").content == b"77"
            assert server.davfusion("status").returncode == 3
    assert min(times) < 2.0, times
