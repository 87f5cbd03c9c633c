"""Damage in the store of a chunked share: everything else stays readable, and what is concerned is listed by path."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.recovering import SERVE, Seen, davfusion, fill, seen
from tests.clients.serving import served
from tests.clients.webdav import Client


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Seen]:
    """A store with a share, its state directory, and what clients saw of it. Not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "store").mkdir()
    with served(str(folder / "store"), *SERVE, state=folder / "state") as server:
        fill(server)
        shown = seen(server.url)
        assert server.stop() == 0
    return folder / "store", folder / "state", shown


@pytest.fixture
def store(original: tuple[Path, Path, Seen], tmp_path: Path) -> Path:
    return Path(shutil.copytree(original[0], tmp_path / "store"))


@pytest.fixture
def shown(original: tuple[Path, Path, Seen]) -> Seen:
    return original[2]


def listed(output: str) -> set[str]:
    """The paths of files that a command complains about."""
    prefix = "files: /"
    return {line.split(": ")[1] for line in output.splitlines() if line.startswith(prefix)
            and not line.startswith(("files: /archives/", "files: /blocks/"))}


def largest_archive(store: Path) -> Path:
    return max((store / "archives").iterdir(), key=lambda path: path.stat().st_size)


def remove_archive(store: Path) -> None:
    largest_archive(store).unlink()


def cut_archive(store: Path) -> None:
    with largest_archive(store).open("r+b") as file:
        file.truncate(1000)


def remove_block(store: Path) -> None:
    next(path for path in sorted((store / "blocks").rglob("*")) if path.is_file()).unlink()


@pytest.mark.parametrize("damage", [remove_archive, cut_archive, remove_block])
def test_missing_bytes(store: Path, shown: Seen, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(store)
    done = davfusion("recover", store, "--state", tmp_path / "new")
    assert done.returncode == 4, done.stderr
    concerned = listed(done.stdout)
    assert concerned
    assert concerned < set(shown)
    with served(str(store), *SERVE, state=tmp_path / "new") as server:
        now = seen(server.url, unreadable=tuple(concerned))
    assert {path: properties for path, (properties, _) in now.items()} == {
        path: properties for path, (properties, _) in shown.items()}
    assert all(now[path] == shown[path] for path in shown if path not in concerned)


def test_changed_bytes(store: Path, shown: Seen, tmp_path: Path) -> None:
    path = largest_archive(store)
    with zipfile.ZipFile(path) as archive:
        victim = archive.infolist()[0]
    with path.open("r+b") as file:
        file.seek(victim.header_offset + 30 + len(victim.filename.encode()) + len(victim.extra) + 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0x55]))
    assert davfusion("recover", store, "--state", tmp_path / "new").returncode == 0
    with served(str(store), *SERVE, state=tmp_path / "new") as server:
        checked = server.davfusion("check", "--store", "--deep")
        assert checked.returncode == 4, checked.stdout + checked.stderr
        concerned = listed(checked.stdout)
        now = seen(server.url, unreadable=tuple(concerned))
        assert server.davfusion("check", "--store").returncode == 0
    assert f"/{victim.filename}" in concerned or any(name.endswith(victim.filename[-6:]) for name in concerned)
    assert len(concerned) <= 2
    assert all(now[path] == shown[path] for path in shown if path not in concerned)


def entries(store: Path) -> list[Path]:
    return sorted((store / "journal").iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def rewrite(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b'["node",', b'["node",-', 1)))


@pytest.mark.parametrize(("which", "damage"), [
    (0, truncate), (1, truncate), (1, Path.unlink), (1, rewrite), (2, Path.unlink), (-1, truncate)])
def test_a_damaged_entry(store: Path, shown: Seen, tmp_path: Path, which: int, damage: Callable[[Path], None]) -> None:
    """Everything that the other entries say comes back, and the share can be used on, and recovered, from there."""
    victim = entries(store)[which]
    damage(victim)
    done = davfusion("recover", store, "--state", tmp_path / "new")
    assert done.returncode == 4, done.stdout + done.stderr
    assert victim.name in done.stdout
    lost = listed(done.stdout)
    with served(str(store), *SERVE, state=tmp_path / "new") as server:
        now = seen(server.url, unreadable=tuple(lost))
        assert Client(server.url).put("/new file", b"goes on").status_code == 201
        server.sync()
        now["/new file"] = seen(server.url, unreadable=tuple(lost))["/new file"]
        assert server.stop() == 0
    assert set(now) & set(shown)
    again = davfusion("recover", store, "--state", tmp_path / "again")
    assert victim.name not in again.stdout
    with served(str(store), *SERVE, state=tmp_path / "again") as server:
        then = seen(server.url, unreadable=tuple(lost))
    assert {path: content for path, (_, content) in then.items()} == {
        path: content for path, (_, content) in now.items()}


def test_reading_goes_on_where_the_state_directory_is_there(original: tuple[Path, Path, Seen], tmp_path: Path) -> None:
    """Damage of the journal does not concern a server that knows what it says."""
    store, shown = tmp_path / "store", original[2]
    shutil.copytree(original[0], store)
    assert davfusion("recover", store, "--state", tmp_path / "state").returncode == 0
    truncate(entries(store)[1])
    with served(str(store), *SERVE, state=tmp_path / "state") as server:
        assert seen(server.url) == shown
        checked = server.davfusion("check", "--store")
        assert checked.returncode == 4
        assert entries(store)[1].name in checked.stdout
