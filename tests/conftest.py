"""What all tests share: tests that need a system program say so with `@pytest.mark.program(name)`."""

from __future__ import annotations

import os
import shutil

import pytest

SYSTEM_FOLDERS = os.pathsep + os.pathsep.join(("/usr/sbin", "/sbin"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    path = os.environ.get("PATH", os.defpath) + SYSTEM_FOLDERS
    needed = [name for mark in item.iter_markers("program") for name in mark.args]
    missing = [name for name in needed if not _is_here(name, path)]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}, which is not here"
    if os.environ.get("DAVFUSION_TEST_PROGRAMS") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _is_here(name: str, path: str) -> bool:
    """A program by name, a device by path, or the rights of root."""
    if name == "root":
        return hasattr(os, "geteuid") and os.geteuid() == 0
    if name.startswith("/"):
        return os.access(name, os.R_OK | os.W_OK)
    return shutil.which(name, path=path) is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.markexpr or config.option.keyword or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
