"""Accounts and TLS through the front door: `davfusion user`, `serve --users`, `--tls-cert` with its reload."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.serving import await_true, served, session

DAVFUSION = (sys.executable, "-m", "davfusion")
PASSWORD = "Grüße:an alle"


def user(*arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DAVFUSION, "user", *arguments], input=password + "\n", text=True, capture_output=True,
                          timeout=60, check=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    assert user("add", "ada", "--users", str(file), "--password-stdin", password=PASSWORD).returncode == 0
    reader = user("add", "bob", "--users", str(file), "--right", "read", "--password-stdin", password="only reads")
    assert reader.returncode == 0, reader.stderr
    return file


@pytest.mark.parametrize("workers", ["1", "2"])
def test_only_users_come_in_and_rights_hold(users: Path, tmp_path: Path, workers: str) -> None:
    with served(str(tmp_path / "folder"), "--users", str(users), "--workers", workers,
                state=tmp_path / "state") as server, session() as client:
        file = server.url + "file.txt"
        unknown = client.put(file, data=b"x")
        assert unknown.status_code == 401 and "Basic" in unknown.headers["WWW-Authenticate"]
        ada, bob = ("ada", PASSWORD.encode()), ("bob", b"only reads")
        assert client.put(file, data=b"mine", auth=("ada", b"wrong")).status_code == 401
        assert client.put(file, data=b"mine", auth=ada).status_code == 201
        assert client.get(file, auth=bob).content == b"mine"
        assert client.put(file, data=b"his", auth=bob).status_code == 403
        assert client.request("MOVE", file, headers={"Destination": server.url + "x"}, auth=bob).status_code == 403
        assert user("rm", "bob", "--users", str(users)).returncode == 0
        assert client.get(file, auth=bob).status_code == 401
        assert server.stop() == 0


def test_with_users_other_computers_may_come(users: Path, tmp_path: Path) -> None:
    with served("memory://", "--users", str(users), "--host", "0.0.0.0", state=tmp_path / "state") as server:
        with session() as client:
            assert client.get(f"http://127.0.0.1:{server.port}/").status_code == 401


@pytest.mark.parametrize("store", ["memory://", "folder"])
def test_a_users_file_that_is_missing_stops_the_start(store: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*DAVFUSION, "serve", store if "://" in store else str(tmp_path / store), "--users", str(tmp_path / "nobody"),
         "--port", "0", "--state", str(tmp_path / "state")],
        text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert str(tmp_path / "nobody") in done.stderr and "Traceback" not in done.stderr


def make_certificate(folder: Path, name: str) -> None:
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-days", "2",
                    "-subj", f"/CN={name}"], check=True, capture_output=True)


@pytest.mark.program("openssl")
@pytest.mark.parametrize("store", ["memory://", "folder"])
def test_tls_and_its_certificate_changed_while_serving(store: str, tmp_path: Path) -> None:
    make_certificate(tmp_path, "first")
    with served(store if "://" in store else str(tmp_path / store), "--tls-cert", str(tmp_path / "cert.pem"),
                "--tls-key", str(tmp_path / "key.pem"), state=tmp_path / "state") as server:
        assert server.url.startswith("https://")
        first = ssl.get_server_certificate(("127.0.0.1", server.port))
        with session() as client:
            assert client.put(server.url + "f", data=b"x", verify=False).status_code == 201
        make_certificate(tmp_path, "second")
        server.process.send_signal(signal.SIGHUP)
        await_true(lambda: ssl.get_server_certificate(("127.0.0.1", server.port)) != first, 10, "the new certificate")
        assert server.stop() == 0


@pytest.mark.program("openssl")
def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    done = subprocess.run(
        [*DAVFUSION, "serve", str(tmp_path / "folder"), "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key",
         str(tmp_path / "key.pem"), "--port", "0", "--state", str(tmp_path / "state")],
        text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1 and "cert.pem" in done.stderr and "Traceback" not in done.stderr
