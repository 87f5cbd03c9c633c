"""`davfusion convert`, as people run it: both ways, interrupted, with damage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def convert(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([sys.executable, "-m", "davfusion", "convert", *map(str, arguments)],  # type: ignore[call-overload,no-any-return]
                          capture_output=True, text=True, timeout=120, **options)


def fill(folder: Path) -> None:
    """A small share with what is awkward in it."""
    (folder / "Photos/2024 Käse").mkdir(parents=True)
    (folder / "empty folder").mkdir()
    (folder / "empty").write_bytes(b"")
    (folder / "large").write_bytes(os.urandom(9_500_000))
    for number in range(60):
        (folder / f"Photos/2024 Käse/{number:03}.txt").write_text(f"number {number}\n" * 40)
    os.utime(folder / "large", (1_600_000_000, 1_600_000_000))


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder, by relative path; None for folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))}


def test_there_and_back(tmp_path: Path) -> None:
    plain, chunked, again = tmp_path / "plain", tmp_path / "chunked", tmp_path / "again"
    for folder in (plain, chunked, again):
        folder.mkdir()
    fill(plain)
    there = convert(plain, chunked, "--state", tmp_path / "state", "--deep")
    summary = "62 files taken over, 0 were there, 0 failed, 0 differ\n"
    assert (there.returncode, there.stdout) == (0, summary), there.stderr
    assert len(list((chunked / "archives").iterdir())) < 5
    back = convert(chunked, again, "--state", tmp_path / "back", "--deep")
    assert back.returncode == 0, back.stderr
    assert contents(again) == contents(plain)
    assert (again / "large").stat().st_mtime == 1_600_000_000


def test_a_second_run_takes_only_what_is_new(tmp_path: Path) -> None:
    plain, chunked = tmp_path / "plain", tmp_path / "chunked"
    plain.mkdir()
    chunked.mkdir()
    fill(plain)
    convert(plain, chunked, "--state", tmp_path / "state")
    (plain / "later").write_text("later")
    second = convert(plain, chunked, "--state", tmp_path / "state", "--deep")
    assert (second.returncode, second.stdout) == (0, "1 files taken over, 62 were there, 0 failed, 0 differ\n")


def test_goes_on_after_a_kill(tmp_path: Path) -> None:
    plain, chunked = tmp_path / "plain", tmp_path / "chunked"
    plain.mkdir()
    chunked.mkdir()
    fill(plain)
    for number in range(400):
        (plain / f"more {number}").write_bytes(os.urandom(3_000))
    state = tmp_path / "state"
    command = [sys.executable, "-m", "davfusion", "convert", str(plain), str(chunked), "--state", str(state)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    record = state / "shares/files/converted.jsonl"
    deadline = time.monotonic() + 60
    while not record.exists() or record.stat().st_size < 2_000:
        assert first.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = convert(plain, chunked, "--state", state, "--deep")
    assert second.returncode == 0, second.stderr
    taken, known = [int(word) for word in second.stdout.split() if word.isdecimal()][:2]
    assert taken + known == 462
    assert known > 0


def test_what_cannot_be_read_is_named_and_the_rest_taken(tmp_path: Path) -> None:
    plain, chunked, again = tmp_path / "plain", tmp_path / "chunked", tmp_path / "again"
    for folder in (plain, chunked, again):
        folder.mkdir()
    fill(plain)
    convert(plain, chunked, "--state", tmp_path / "state")
    block = next((chunked / "blocks").rglob("*/*"))
    block.write_bytes(os.urandom(block.stat().st_size))
    back = convert(chunked, again, "--state", tmp_path / "back")
    assert back.returncode == 1
    assert "not taken over: /large:" in back.stderr
    assert {name for name in contents(plain) if name != "large"} == set(contents(again))


def test_a_target_with_other_files_in_it_is_refused(tmp_path: Path) -> None:
    plain, target = tmp_path / "plain", tmp_path / "target"
    plain.mkdir()
    target.mkdir()
    fill(plain)
    (target / "mine").write_text("mine")
    refused = convert(plain, target, "--state", tmp_path / "state")
    assert refused.returncode == 1
    assert "holds files already" in refused.stderr


def test_what_changed_its_kind_since_the_first_run_is_named(tmp_path: Path) -> None:
    plain, chunked = tmp_path / "plain", tmp_path / "chunked"
    plain.mkdir()
    chunked.mkdir()
    (plain / "thing").write_text("a file")
    (plain / "other").write_text("other")
    convert(plain, chunked, "--state", tmp_path / "state")
    (plain / "thing").unlink()
    (plain / "thing").mkdir()
    (plain / "thing/inner").write_text("inner")
    second = convert(plain, chunked, "--state", tmp_path / "state")
    assert second.returncode == 1
    assert "not taken over: /thing/inner:" in second.stderr
    assert "not the same in" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
