"""A users file with real hashes, and a clock that is moved by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from davfusion.accounts import commands
from davfusion.accounts.rights import Right
from tests.accounts.signing import PASSWORDS, Clock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """alice writes everywhere, bob reads photos and nothing else, Jürgen has what the shares give."""
    file = tmp_path / "users"
    commands.add(file, "alice", PASSWORDS["alice"], default=Right.WRITE)
    commands.add(file, "bob", PASSWORDS["bob"], default=Right.NONE, shares={"Photos": Right.READ})
    commands.add(file, "Jürgen", PASSWORDS["Jürgen"])
    return file


@pytest.fixture
def clock() -> Clock:
    return Clock()
