"""Addresses of stores as they are typed."""

from __future__ import annotations

from pathlib import Path


def absolute(store: str) -> str:
    """The address of a store that does not depend on the current folder."""
    return store if "://" in store else str(Path(store).expanduser().resolve())
