"""The benchmarks run from end to end: the command, two servers, a report that adds up."""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.benchmarks import data, driver, report, wrk
from tests.benchmarks.cloud.rows import CloudRow
from tests.benchmarks.cloud.rows import rows as cloud_rows
from tests.benchmarks.goals import Goal, Measure
from tests.benchmarks.measure import Series
from tests.benchmarks.work import Ask, Outcome, Work

ROWS = ("get-4k-16", "propfind-100", "put-4k-1")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_command_measures_davfusion_and_a_peer(tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--seconds", "0.3", "--rows", ",".join(ROWS),
         "--peers", "wsgidav", "--bundled-driver", "--directory", str(tmp_path), "--json", str(report_file)],
        capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_file.read_text())
    assert report["load"]["generator"] == "bundled driver"
    assert [row["name"] for row in report["rows"]] == list(ROWS)
    for row in report["rows"]:
        subjects = {"davfusion", "davfusion-process-safe"} if row["name"] == "put-4k-1" else {"davfusion"}
        assert set(row["servers"]) == subjects | {"wsgidav"}
        for series in row["servers"].values():
            assert series["errors"] == []
            assert series["rate"] > 0
            assert series["cpu_seconds_per_operation"] >= 0
        for subject in subjects:
            rate, other = (row["servers"][name]["rate"] for name in (subject, "wsgidav"))
            assert row["ratios"][subject] == {"wsgidav": pytest.approx(rate / other)}
        assert {goal["met"] for goal in row["goals"]} <= {None}
    assert report["memory"]["davfusion"]["idle_resident_bytes"] > 10 << 20
    assert "| GET 4 KiB, 16 connections" in done.stdout
    assert not [path for path in tmp_path.iterdir() if path != report_file]


CHEAP = ("cloud-save-100", "cloud-list-50")
OTHERS = tuple(row.name for row in cloud_rows(data.QUICK) if row.name not in CHEAP)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("names", [CHEAP, pytest.param(OTHERS, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_the_command_measures_a_chunked_share_in_the_cloud(tmp_path: Path, names: tuple[str, ...]) -> None:
    report_file = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--cloud", "--quick", "--rows", ",".join(names),
         "--directory", str(tmp_path), "--json", str(report_file)],
        capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report_file.read_text())
    wanted = {row.name: row for row in cloud_rows(data.QUICK)}
    assert [row["name"] for row in found["rows"]] == [name for name in wanted if name in names]
    for row in found["rows"]:
        assert set(row["servers"]) == set(wanted[row["name"]].servers)
        for series in row["servers"].values():
            assert series["errors"] == []
            assert series["times_measured"] == 1
            assert series["seconds"] > 0
        assert all(goal["reached"] is not None and goal["met"] is not None for goal in row["goals"])
        assert row["what"] in done.stdout
    # what does not depend on how fast this machine is just now
    by_name = {row["name"]: row["servers"] for row in found["rows"]}
    if names == CHEAP:
        assert by_name["cloud-list-50"]["davfusion"]["requests"] == 0
        assert by_name["cloud-list-50"]["rclone"]["requests"] >= 50
        assert by_name["cloud-save-100"]["rclone"]["requests"] >= 100
        assert by_name["cloud-save-100"]["rclone"]["bytes_sent"] >= 100 * 4096
        assert 100 * 4096 <= by_name["cloud-save-100"]["davfusion"]["bytes_sent"] < 150 * 4096
    assert not [path for path in tmp_path.iterdir() if path != report_file]


@pytest.mark.parametrize(("goal", "reached", "met"), [
    (Goal(20, "rclone"), 25.0, True),
    (Goal(30, "rclone"), 25.0, False),
    (Goal(4, of=Measure.SECONDS), 4.0, True),
    (Goal(3.9, of=Measure.SECONDS), 4.0, False),
    (Goal(0.01, "rclone", of=Measure.REQUESTS), 0.01, True),
    (Goal(0.009, "rclone", of=Measure.REQUESTS), 0.01, False),
    (Goal(0, of=Measure.READS), 1.0, False),
    (Goal(1000, of=Measure.SENT), 1000.0, True),
    (Goal(20, "apache"), None, None),
    (Goal(0.01, "apache", of=Measure.REQUESTS), None, None),
])
def test_a_goal_is_told_as_met_or_missed(goal: Goal, reached: float | None, met: bool | None) -> None:
    row = CloudRow("row", "what is done", lambda mount, scale: iter(()), (goal,))
    quick, slow = Series(), Series()
    for series, seconds, requests, reads in ((quick, 4.0, 2, 1), (slow, 100.0, 200, 0)):
        series.keep(Outcome(operations=100, seconds=seconds), 1.0, in_bytes=False)
        series.requests.append(requests)
        series.reads.append(reads)
        series.sent.append(1000)
    [told] = report.as_values([row], {"row": {"davfusion": quick, "rclone": slow}})
    assert told["goals"][0]["reached"] == (None if reached is None else pytest.approx(reached))
    assert told["goals"][0]["met"] is met


class _Liar(BaseHTTPRequestHandler):
    """Every tenth answer has another status, every tenth a shorter body."""

    protocol_version = "HTTP/1.1"
    answers = 0

    def do_GET(self) -> None:
        type(self).answers += 1
        kind = type(self).answers % 10
        wrong_status, short = (self.path == "/status" and kind == 5), (self.path == "/short" and kind == 5)
        body = b"x" * (99 if short else 100)
        self.send_response(206 if wrong_status else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody wants to read it."""


@pytest.mark.parametrize("generator", ["driver", pytest.param("wrk", marks=pytest.mark.program("wrk"))])
@pytest.mark.parametrize(("path", "said"), [("/fine", None), ("/status", "206"), ("/short", "99 bytes")])
def test_a_wrong_answer_is_an_error(generator: str, path: str, said: str | None) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Liar)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        work = Work((Ask("GET", path),), frozenset((200,)), 100, connections=2)
        drive = wrk.drive if generator == "wrk" else driver.drive
        outcome: Outcome = drive(f"http://127.0.0.1:{server.server_port}", work, 0.3)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    if said is None:
        assert outcome.errors == []
        assert outcome.operations > 10
        assert outcome.bytes >= outcome.operations * 100 - 1000
    else:
        assert said in " ".join(outcome.errors)
