"""The commands as people and scripts run them: output, exit codes, and sentences that say what to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from davfusion import __version__
from tests.clients.serving import COMMAND, await_true, served
from tests.clients.webdav import Client
from tests.servers import free_port


def davfusion(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env={**os.environ, **environ}, text=True, capture_output=True,
                          timeout=60, check=False)


@pytest.fixture
def store(tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    return str(tmp_path / "store")


def test_version() -> None:
    done = davfusion("--version")
    assert (done.returncode, __version__ in done.stdout) == (0, True)


@pytest.mark.parametrize("command", ["serve", "sync", "status", "check"])
def test_help(command: str) -> None:
    done = davfusion(command, "--help")
    assert done.returncode == 0
    assert "--state" in done.stdout


@pytest.mark.parametrize("arguments", [["unknown"], ["serve", "--port", "70000"], ["serve", "--cache-size", "huge"],
                                       ["serve", "--durability", "none"], ["serve", "/a", "/b"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = davfusion(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_exactly_one_line_when_ready(store: str, tmp_path: Path) -> None:
    with served(store, state=tmp_path / "state") as server:
        assert server.stop() == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("address", ["folder", "memory://"])
def test_signals_stop_cleanly(store: str, tmp_path: Path, number: int, address: str) -> None:
    with served(store if address == "folder" else address, state=tmp_path / "state") as server:
        assert Client(server.url).put("/a.txt", b"a").status_code == 201
        os.killpg(server.process.pid, number)  # a terminal sends Control-C to the whole group
        assert server.process.wait(20) == 0, server.logs()
        assert "Traceback" not in server.logs()


def test_beyond_loopback_is_refused(store: str, tmp_path: Path) -> None:
    done = davfusion("serve", store, "--host", "0.0.0.0", "--port", "0", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert "--anonymous" in done.stderr
    assert "Traceback" not in done.stderr


def test_beyond_loopback_when_asked(store: str, tmp_path: Path) -> None:
    with served(store, "--host", "0.0.0.0", "--anonymous", state=tmp_path / "state") as server:
        assert Client(f"http://127.0.0.1:{server.port}/").list("/") == []


def test_a_state_directory_in_use(store: str, tmp_path: Path) -> None:
    with served(store, state=tmp_path / "state") as server:
        done = davfusion("serve", store, "--port", "0", "--state", str(server.state))
        assert done.returncode == 1
        assert "Another davfusion works on this state directory" in done.stderr
        assert Client(server.url).put("/still.txt", b"here").status_code == 201


def test_a_port_in_use(store: str, tmp_path: Path) -> None:
    with served(store, "--workers", "2", state=tmp_path / "state") as server:
        for workers in ("1", "2"):
            done = davfusion("serve", store, "--port", str(server.port), "--workers", workers,
                             "--state", str(tmp_path / "other"))
            assert done.returncode == 1
            assert "--port" in done.stderr


def test_another_store_on_the_same_state_is_refused(store: str, tmp_path: Path) -> None:
    with served(store, state=tmp_path / "state") as server:
        assert server.stop() == 0
    (tmp_path / "other").mkdir()
    done = davfusion("serve", str(tmp_path / "other"), "--port", "0", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert "belongs to the store" in done.stderr


def test_an_unknown_kind_of_store(tmp_path: Path) -> None:
    done = davfusion("serve", "gopher://hole/", "--port", "0", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert "gopher" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_secret_in_the_address_is_refused(tmp_path: Path) -> None:
    done = davfusion("serve", "s3://key:hush-hush@bucket/", "--port", "0", "--state", str(tmp_path / "state"))
    assert done.returncode == 1
    assert "hush-hush" not in done.stderr + done.stdout


def test_without_a_store_a_folder_at_home_is_served(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "xdg")}
    with served(None, "--upload-delay", "0", state=tmp_path / "state", environ=home) as server:
        assert Client(server.url).put("/hello.txt", b"hello").status_code == 201
        server.sync()
    assert (tmp_path / "davfusion" / "hello.txt").read_bytes() == b"hello"


def test_the_only_state_is_found_without_naming_it(store: str, tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    port = free_port()
    server = subprocess.Popen([*COMMAND, "serve", store, "--port", str(port)], env={**os.environ, **environ},
                              stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert server.stdout is not None
        assert f":{port}/" in server.stdout.readline()
        assert davfusion("status", **environ).returncode == 0
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


@pytest.mark.parametrize("command", ["status", "sync", "check"])
def test_commands_without_any_state_say_what_to_do(command: str, tmp_path: Path) -> None:
    done = davfusion(command, XDG_STATE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "davfusion serve" in done.stderr


def test_several_shares_of_a_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    config = tmp_path / "davfusion.toml"
    config.write_text('[[share]]\nname = "One"\nstore = "one"\nupload_delay = 0\n'
                      '[[share]]\nname = "two \u00fc"\nstore = "two"\nread_only = true\n', encoding="utf-8")
    (tmp_path / "two" / "there.txt").write_bytes(b"there")
    with served(None, "--config", str(config), state=tmp_path / "state") as server:
        client = Client(server.url)
        assert {entry.path for entry in client.list("/")} == {"/One", "/two \u00fc"}
        assert client.put("/One/a.txt", b"a").status_code == 201
        assert client.get("/two \u00fc/there.txt").content == b"there"
        assert client.put("/two \u00fc/no.txt", b"no").status_code == 403
        server.sync()
    assert (tmp_path / "one" / "a.txt").read_bytes() == b"a"


def test_read_only(store: str, tmp_path: Path) -> None:
    (Path(store) / "a.txt").write_bytes(b"a")
    with served(store, "--read-only", state=tmp_path / "state") as server:
        client = Client(server.url)
        assert client.get("/a.txt").content == b"a"
        assert client.put("/a.txt", b"b").status_code == 403
        assert client.request("DELETE", "/a.txt").status_code == 403


def test_status_tells_what_waits(store: str, tmp_path: Path) -> None:
    with served(store, "--upload-delay", "3600", state=tmp_path / "state") as server:
        clean = server.davfusion("status", "--json")
        assert clean.returncode == 0, clean.stdout + clean.stderr
        assert Client(server.url).put("/waits.txt", b"12345").status_code == 201
        waiting = server.davfusion("status", "--json")
        assert waiting.returncode == 3
        told = json.loads(waiting.stdout)
        assert "/waits.txt" in waiting.stdout
        assert told["shares"][0]["waiting"]["files"] == 1
        assert told["shares"][0]["waiting"]["bytes"] == 5
        people = server.davfusion("status")
        assert people.returncode == 3
        assert "waits.txt" in people.stdout


def test_sync_carries_it_at_once(store: str, tmp_path: Path) -> None:
    with served(store, "--upload-delay", "3600", state=tmp_path / "state") as server:
        assert Client(server.url).put("/now.txt", b"now").status_code == 201
        server.sync(30)
        assert (Path(store) / "now.txt").read_bytes() == b"now"
        assert server.davfusion("status").returncode == 0


def test_sync_and_status_without_a_server(store: str, tmp_path: Path) -> None:
    with served(store, "--upload-delay", "3600", state=tmp_path / "state") as server:
        assert Client(server.url).put("/later.txt", b"later").status_code == 201
        assert server.stop() == 0
        assert server.davfusion("status").returncode == 3
        server.sync(30)
        assert (Path(store) / "later.txt").read_bytes() == b"later"
        assert server.davfusion("status").returncode == 0


def test_sync_gives_up_in_time(store: str, tmp_path: Path) -> None:
    with served(store, "--upload-delay", "0", state=tmp_path / "state") as server:
        assert Client(server.url).list("/") == []
        Path(store).rename(tmp_path / "away")
        assert Client(server.url).put("/stuck.txt", b"stuck").status_code == 201
        done = server.davfusion("sync", "--wait", "--timeout", "1")
        assert done.returncode == 3, done.stdout + done.stderr
        (tmp_path / "away").rename(store)
        server.sync(60)
    assert (Path(store) / "stuck.txt").read_bytes() == b"stuck"


def test_a_parked_file_is_shown_with_its_reason(store: str, tmp_path: Path) -> None:
    long_name = "\u00fc" * 200 + ".txt"  # 404 bytes: no local file system takes it
    with served(store, "--upload-delay", "0", state=tmp_path / "state") as server:
        assert Client(server.url).put(f"/{long_name}", b"x").status_code == 201
        await_true(lambda: server.davfusion("status").returncode == 4, 30, "the file is parked")
        told = json.loads(server.davfusion("status", "--json").stdout)
        parked = told["shares"][0]["parked"]
        assert [entry["path"] for entry in parked] == [f"/{long_name}"]
        assert parked[0]["reason"]
        assert server.davfusion("sync", "--wait", "--timeout", "10").returncode == 4
        assert Client(server.url).move(f"/{long_name}", "/short.txt").status_code == 201
        server.sync(30)
    assert (Path(store) / "short.txt").read_bytes() == b"x"


def test_check_finds_nothing_wrong_and_then_something(store: str, tmp_path: Path) -> None:
    with served(store, "--upload-delay", "0", state=tmp_path / "state") as server:
        assert Client(server.url).put("/a.txt", b"aaaa").status_code == 201
        server.sync()
        assert server.stop() == 0
        sound = server.davfusion("check")
        assert sound.returncode == 0, sound.stdout + sound.stderr
        (Path(store) / "a.txt").unlink()
        assert server.davfusion("check").returncode != 0
        repaired = server.davfusion("check", "--repair")
        assert repaired.returncode == 0, repaired.stdout + repaired.stderr
        assert server.davfusion("check").returncode == 0


def test_starting_needs_no_terminal_libraries() -> None:
    code = "import sys, davfusion.cli.serve; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
