"""litmus, the WebDAV test suite: every test passes without a warning, on every store, under both applications."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.serving import served
from tests.clients.stock import stock_served
from tests.servers import moto_s3, rclone_s3

pytestmark = pytest.mark.program("litmus")
SUITES = ("basic", "copymove", "props", "locks", "http")
SUMMARY = re.compile(r"<- summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed\.")
STORES = ("memory", "file", "s3-moto", "s3-rclone")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of an empty store, and the environment that holds its credentials."""
    if request.param == "memory":
        yield "memory://", {}
    elif request.param == "file":
        (tmp_path / "store").mkdir()
        yield (tmp_path / "store").as_uri(), {}
    elif request.param == "s3-moto":
        with moto_s3() as server:
            server.make_bucket("bucket")
            yield server.url("bucket", "a/prefix"), server.environ
    else:
        with rclone_s3(tmp_path / "store") as server:
            server.make_bucket("bucket")
            yield server.url("bucket", conditional="no"), server.environ


def run_litmus(url: str, folder: Path) -> str:
    """litmus writes its traces into the current folder; its output."""
    folder.mkdir()
    done = subprocess.run(["litmus", "--keep-going", url], cwd=folder, text=True, capture_output=True,
                          timeout=240, check=False, errors="replace")
    return done.stdout + done.stderr


def assert_perfect(output: str) -> None:
    summaries = {suite: (int(run), int(passed)) for suite, run, passed, _ in SUMMARY.findall(output)}
    complaints = [line for line in output.splitlines() if re.search("WARNING|FAIL|SKIP|warning", line)]
    assert not complaints, "\n".join(complaints)
    assert tuple(summaries) == SUITES, output
    assert all(run == passed and run > 0 for run, passed in summaries.values()), summaries


def test_our_application(store: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environ = store
    with served(address, "--upload-delay", "0", state=tmp_path / "state", environ=environ) as server:
        assert_perfect(run_litmus(server.url, tmp_path / "litmus"))
        server.sync()


@pytest.mark.parametrize("workers", ["2", "4"])
def test_our_application_in_several_processes(workers: str, tmp_path: Path) -> None:
    with moto_s3() as s3:
        s3.make_bucket("bucket")
        with served(s3.url("bucket", "a/prefix"), "--upload-delay", "0", "--workers", workers,
                    state=tmp_path / "state", environ=s3.environ) as server:
            assert_perfect(run_litmus(server.url, tmp_path / "litmus"))
            server.sync()


def test_stock_application(store: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    address, environ = store
    with stock_served(address, state=tmp_path / "state", environ=environ) as url:
        assert_perfect(run_litmus(url, tmp_path / "litmus"))
