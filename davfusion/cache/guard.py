"""What a change asks of the local tree before it is made, in the transaction that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from davfusion.cache.node import Lock, Node


class TreeView(Protocol):
    """The local tree as one write transaction sees it; handed to guards. All paths are local paths."""

    def find(self, path: str) -> Node | None:
        """The node at the path."""

    def locks_on(self, path: str) -> list[Lock]:
        """Locks that cover the path, mapped or not: its own, and those of depth infinity above it."""

    def locks_under(self, path: str) -> list[Lock]:
        """Locks whose root is strictly below the path."""


Guard = Callable[[TreeView], None]
"""Runs inside the write transaction, before the change; what it raises rolls back and reaches the caller."""
