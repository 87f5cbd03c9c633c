"""What can go wrong in the tree and the contents of a share, apart from errors of its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from davfusion.cache.node import Lock


class TreeError(Exception):
    """Root of the errors of this room; `path` is the local path concerned."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message, path)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{self.message} ({self.path})"


class NoSuchNodeError(TreeError):
    """Nothing is at this path."""


class NodeExistsError(TreeError):
    """Something is at this path and may not be replaced."""


class NoParentError(TreeError):
    """The folder that should hold this path does not exist, or is a file."""


class UnsettledError(TreeError):
    """What is known here does not tell whether a file can be put at this path: look it up."""


class WrongKindError(TreeError):
    """A folder is where a file was meant, or the other way round."""


class IntoItselfError(TreeError):
    """A folder cannot be moved or copied into itself or onto one of its parents."""


class CacheFullError(TreeError):
    """There is no room on this machine for so much new data (limit of the cache, or the disk)."""


class LengthMismatchError(TreeError):
    """A body ended before or after the announced length."""


class LockConflictError(TreeError):
    """Existing locks forbid the new one."""

    def __init__(self, message: str, path: str, locks: list[Lock]) -> None:
        super().__init__(message, path)
        self.locks = locks
        self.args = (message, path, locks)


class StateInUseError(TreeError):
    """Another davfusion works on this state directory."""
