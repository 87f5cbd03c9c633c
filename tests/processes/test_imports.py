"""What each process of a server loads, and from where: what it does not need is memory held for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import davfusion

PACKAGE = Path(davfusion.__file__).resolve().parent
PROBE = "import sys; before = {*sys.modules}; __import__(sys.argv[1]); print(*{*sys.modules} - before)"
"""What an import loads, without what the interpreter itself loads: an editable installation adds to that."""
COMMAND_LINE = {"click", "rich", "pydantic", "pydantic_core", "tomllib"}
WEBDAV = {"lxml", "wsgidav", "cheroot", "davfusion.dav", "davfusion.server", "davfusion.accounts"}
STORES_AWAY = {"requests", "urllib3", "davfusion.store.s3"}
ACCOUNTS = {"argon2", "_cffi_backend"}
CACHE = {"sqlite3", "hashlib", "davfusion.cache", "davfusion.sync", "davfusion.store"}


@pytest.mark.parametrize(("process", "forbidden"), [
    ("supervising", COMMAND_LINE | WEBDAV | STORES_AWAY | ACCOUNTS | CACHE | {"ssl", "ctypes", "pathlib", "email"}),
    ("engine", COMMAND_LINE | WEBDAV | STORES_AWAY | ACCOUNTS | {"ssl", "email", "subprocess"}),
    ("front", COMMAND_LINE | STORES_AWAY | ACCOUNTS | {"davfusion.sync", "subprocess"}),
])
def test_a_process_loads_only_what_it_needs(process: str, forbidden: set[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, f"davfusion.processes.{process}"],
                          capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert f"davfusion.processes.{process}" in loaded
    assert not loaded & forbidden


def test_a_file_in_the_current_folder_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "json.py").write_text("raise SystemExit('this is no part of davfusion')")
    environ = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    code = "import sys; sys.argv[0] = 'davfusion'; from davfusion.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, "serve", "store", "--port", "0", "--state", "state"],
        cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("davfusion serves")
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
