"""State directories: found again, used by one davfusion at a time, never given to another store."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from davfusion import state
from davfusion.cache.errors import StateInUseError
from davfusion.config import from_options
from davfusion.settings import ConfigError

HOLDER = """
import sys
from pathlib import Path
from davfusion.state import StateLock
lock = StateLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def options(store: str = "/data"):
    return from_options(store, {}, share_overrides={})


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path)}


def make(environ: dict[str, str], address: str) -> Path:
    directory = state.directory_for(address, environ)
    state.prepare(directory)
    state.save(directory, options(address))
    return directory


def test_each_store_has_its_own_directory(environ: dict[str, str]) -> None:
    names = {state.directory_for(address, environ) for address in ("/a", "/b", "s3://bucket/a", "s3://bucket/b?region=x")}
    assert len(names) == 4
    assert state.directory_for("/a", environ) == state.directory_for("/a", environ)


def test_the_only_directory_is_found(environ: dict[str, str]) -> None:
    directory = make(environ, "/a")
    assert state.find(None, environ) == directory


def test_without_any_directory_it_says_what_to_do(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="davfusion serve"):
        state.find(None, environ)


def test_several_directories_are_listed(environ: dict[str, str]) -> None:
    directories = [make(environ, "/a"), make(environ, "s3://bucket/b")]
    with pytest.raises(ConfigError, match="say which one") as caught:
        state.find(None, environ)
    for directory, store in zip(directories, ("/a", "s3://bucket/b"), strict=True):
        assert f"--state {directory}   ({store})" in str(caught.value)


def test_a_folder_that_is_no_state_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the state directory"):
        state.find(tmp_path, {})


def test_what_is_saved_holds_no_secret(tmp_path: Path) -> None:
    state.prepare(tmp_path)
    config = from_options("/a", {}, share_overrides={"credentials": {"secret_access_key": "hush-hush"}})
    state.save(tmp_path, config)
    assert "hush-hush" not in (tmp_path / "davfusion.json").read_text()
    assert state.saved(tmp_path).share[0].store == "/a"


def test_only_the_owner_may_enter(tmp_path: Path) -> None:
    state.prepare(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_share_stays_with_its_store(tmp_path: Path) -> None:
    state.prepare(tmp_path)
    state.claim(tmp_path, options("s3://bucket/a?endpoint=http://one").share[0])
    state.claim(tmp_path, options("s3://bucket/a?endpoint=http://two").share[0])
    with pytest.raises(ConfigError, match="belongs to the store s3://bucket/a"):
        state.claim(tmp_path, options("s3://bucket/b").share[0])


def test_a_directory_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be created"):
        state.prepare(tmp_path / "file" / "state")


def test_one_davfusion_at_a_time_also_after_a_kill(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert state.is_locked(tmp_path)
        with pytest.raises(StateInUseError, match="Another davfusion"):
            state.StateLock(tmp_path, patience=0.1)
        holder.kill()
        began = time.monotonic()
        with state.StateLock(tmp_path):
            assert time.monotonic() - began < 2
    finally:
        holder.kill()
        holder.communicate()
    assert not state.is_locked(tmp_path)
