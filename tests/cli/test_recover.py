"""`davfusion recover`, as people run it: whole shares, other servers, refusals, kills."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.recovering import SERVE, Seen, davfusion, fill, seen
from tests.clients.serving import COMMAND, served
from tests.clients.webdav import Client
from tests.servers import free_port, rclone_s3


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen]:
    """A store with a share, and what clients saw of it when it was served last. Not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "store").mkdir()
    with served(str(folder / "store"), *SERVE, state=folder / "state") as server:
        fill(server)
        shown = seen(server.url)
        assert server.stop() == 0
    return folder / "store", shown


@pytest.fixture
def store(original: tuple[Path, Seen], tmp_path: Path) -> Path:
    """A copy of the store, to be damaged."""
    return Path(shutil.copytree(original[0], tmp_path / "store"))


@pytest.fixture
def shown(original: tuple[Path, Seen]) -> Seen:
    return original[1]


def test_everything_comes_back(store: Path, shown: Seen, tmp_path: Path) -> None:
    done = davfusion("recover", store, "--state", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "83 files" in done.stdout
    with served(str(store), *SERVE, state=tmp_path / "new") as server:
        assert seen(server.url) == shown
        assert server.davfusion("status").returncode == 0


def test_what_is_saved_after_a_recovery_is_recovered_too(store: Path, tmp_path: Path) -> None:
    assert davfusion("recover", store, "--state", tmp_path / "new").returncode == 0
    with served(str(store), *SERVE, state=tmp_path / "new") as server:
        client = Client(server.url)
        assert client.put("/later", b"later").status_code == 201
        assert client.request("DELETE", "/large").status_code == 204
        assert client.move("/Kopie", "/leer/Kopie").status_code == 201
        server.sync()
        shown = seen(server.url)
        assert server.stop() == 0
    assert davfusion("recover", store, "--state", tmp_path / "newer").returncode == 0
    with served(str(store), *SERVE, state=tmp_path / "newer") as server:
        assert seen(server.url) == shown


def test_an_s3_server(tmp_path: Path) -> None:
    with rclone_s3(tmp_path / "s3") as s3:
        address = s3.url(s3.make_bucket("bucket"), "some/prefix")
        with served(address, *SERVE, state=tmp_path / "state", environ=s3.environ) as server:
            fill(server)
            shown = seen(server.url)
            assert server.stop() == 0
        done = davfusion("recover", address, "--state", tmp_path / "new", environ=s3.environ)
        assert done.returncode == 0, done.stderr
        with served(address, *SERVE, state=tmp_path / "new", environ=s3.environ) as server:
            assert seen(server.url) == shown


def test_the_progress_is_told(store: Path, tmp_path: Path) -> None:
    done = davfusion("recover", store, "--state", tmp_path / "new")
    told = [line for line in done.stderr.splitlines() if line.startswith("davfusion: ")]
    assert [line.split(" (")[0] for line in told] == [
        "davfusion: listing the store", "davfusion: reading the journal", "davfusion: writing the index"]


# -- refusals --------------------------------------------------------------------------------------


def test_a_share_that_is_there_already(store: Path, tmp_path: Path) -> None:
    assert davfusion("recover", store, "--state", tmp_path / "new").returncode == 0
    again = davfusion("recover", store, "--state", tmp_path / "new")
    assert again.returncode == 1
    assert "davfusion serve" in again.stderr
    with served(str(store), *SERVE, state=tmp_path / "new") as server:
        assert Client(server.url).get("/empty").status_code == 200


def test_a_store_without_a_chunked_share(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file.txt").write_bytes(b"a plain file")
    done = davfusion("recover", tmp_path / "store", "--state", tmp_path / "new")
    assert done.returncode == 1
    assert "holds no share in the chunked layout" in done.stderr


@pytest.mark.parametrize(("field", "value"), [("format", 2), ("filters", ["rot13"])])
def test_a_share_of_another_format(store: Path, tmp_path: Path, field: str, value: object) -> None:
    marker = json.loads((store / "davfusion.json").read_bytes())
    (store / "davfusion.json").write_text(json.dumps({**marker, field: value}))
    done = davfusion("recover", store, "--state", tmp_path / "new")
    assert done.returncode == 1
    assert "update davfusion" in done.stderr


def test_a_state_directory_in_use(store: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with served(str(tmp_path / "plain"), state=tmp_path / "state"):
        done = davfusion("recover", store, "--state", tmp_path / "state")
    assert done.returncode == 1
    assert "Another davfusion works on this state directory" in done.stderr


def test_a_plain_share_of_this_name_is_not_replaced(store: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with served(str(tmp_path / "plain"), "--upload-delay", "1000", state=tmp_path / "state") as server:
        assert Client(server.url).put("/unsaved", b"only here").status_code == 201
        assert server.stop() == 0
    done = davfusion("recover", store, "--state", tmp_path / "state")
    assert done.returncode == 1
    assert "--name" in done.stderr
    with served(str(tmp_path / "plain"), state=tmp_path / "state") as server:
        assert Client(server.url).get("/unsaved").content == b"only here"


def test_what_a_refused_serve_left_is_no_obstacle(store: Path, shown: Seen, tmp_path: Path) -> None:
    refused = davfusion("serve", store, *SERVE, "--port", "0", "--state", tmp_path / "new")
    assert refused.returncode == 1
    assert "davfusion recover" in refused.stderr
    done = davfusion("recover", store, "--state", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    with served(str(store), *SERVE, state=tmp_path / "new") as server:
        assert seen(server.url) == shown


def test_while_another_writes(store: Path, shown: Seen, tmp_path: Path) -> None:
    assert davfusion("recover", store, "--state", tmp_path / "first").returncode == 0
    with served(str(store), *SERVE, state=tmp_path / "first"):
        done = davfusion("recover", store, "--state", tmp_path / "second")
        assert done.returncode == 0, done.stderr
        assert "writes to this share" in done.stderr
        refused = davfusion("serve", store, *SERVE, "--port", "0", "--state", tmp_path / "second")
        assert refused.returncode == 1
        assert "writes to this share" in refused.stderr
    (store / "lease.json").unlink()
    with served(str(store), *SERVE, state=tmp_path / "second") as server:
        assert seen(server.url) == shown


# -- shares of a configuration ---------------------------------------------------------------------


@pytest.fixture
def config_file(store: Path, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "plain").mkdir()
    file = tmp_path / "davfusion.toml"
    file.write_text(f"""
state = "{tmp_path / 'new'}"
[[share]]
name = "photos"
store = "{store}"
layout = "chunked"
[[share]]
name = "other"
store = "{tmp_path / 'plain'}"
""")
    plain = "[[share]]" + file.read_text().split("[[share]]")[2]
    file.with_name("plain.toml").write_text(plain)
    yield file


def test_a_share_of_a_configuration(config_file: Path, shown: Seen, tmp_path: Path) -> None:
    done = davfusion("recover", "--config", config_file, "--name", "photos")
    assert done.returncode == 0, done.stderr
    with served(None, "--config", str(config_file), state=tmp_path / "new") as server:
        names = {path.removeprefix("/photos") for path in seen(server.url) if path.startswith("/photos/")}
        assert names == set(shown) - {"/"}
        assert server.davfusion("status").returncode == 0


@pytest.mark.parametrize("name", ["other", "unknown"])
def test_a_share_that_cannot_be_meant(config_file: Path, name: str) -> None:
    done = davfusion("recover", "--config", config_file, "--name", name)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_beside_other_shares(config_file: Path, store: Path, tmp_path: Path) -> None:
    with served(None, "--config", str(config_file.with_name("plain.toml")), state=tmp_path / "new") as server:
        assert server.stop() == 0
    assert davfusion("recover", store, "--state", tmp_path / "new", "--name", "photos").returncode == 0
    status = davfusion("status", "--state", tmp_path / "new")
    assert status.returncode == 0
    assert "photos: " in status.stdout and "other: " in status.stdout
    assert davfusion("recover", "--config", config_file, "--name", "photos").returncode == 1


# -- interruptions ---------------------------------------------------------------------------------


def test_killed_at_any_moment(store: Path, shown: Seen, tmp_path: Path) -> None:
    """What is there after a kill is whole or nothing: it is recovered again, or served."""
    moments = [*[0.0] * 8, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08]
    killed = [tmp_path / f"killed {number}" for number in range(len(moments))]
    for state, moment in zip(killed, moments, strict=True):
        process = subprocess.Popen([*COMMAND, "recover", str(store), "--state", str(state)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = state / "recovering/shares/files/index.db"
        while not begun.exists() and process.poll() is None:
            pass  # the first moments of the index are those that count
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        process.kill()
        process.wait()
    interrupted = [state for state in killed if not (state / "shares/files").exists()]
    assert len(interrupted) > 2, "the kills came all too late"
    for state in [*interrupted[:3], *(state for state in killed if state not in interrupted)][:5]:
        again = davfusion("recover", store, "--state", state)
        assert again.returncode == 0 or "is in this state directory already" in again.stderr, again.stderr
        assert not (state / "recovering").exists()
        with served(str(store), *SERVE, state=state) as server:
            assert seen(server.url) == shown
            assert server.davfusion("check", "--store").returncode == 0
            assert server.stop() == 0


def test_a_store_that_is_away(tmp_path: Path) -> None:
    address = f"s3://bucket?endpoint=http://127.0.0.1:{free_port()}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    done = davfusion("recover", address, "--state", tmp_path / "new", environ=keys)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new/shares/files").exists()


def test_a_bar_on_a_terminal(store: Path, tmp_path: Path) -> None:
    control, terminal = pty.openpty()
    process = subprocess.Popen([*COMMAND, "recover", str(store), "--state", str(tmp_path / "new")],
                               stdout=subprocess.PIPE, stderr=terminal, env={**os.environ, "TERM": "xterm"}, text=True)
    os.close(terminal)
    drawn = b""
    with contextlib.suppress(OSError):  # the system's way of saying that the other side is closed
        while piece := os.read(control, 65536):
            drawn += piece
    os.close(control)
    assert process.communicate(timeout=60)[0].startswith("files: 83 files")
    assert process.returncode == 0
    assert b"writing the index" in drawn and b"143/143" in drawn
