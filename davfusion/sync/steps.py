"""What the planner can ask for. Each step is one call to the store, or one change of the index.

Paths are store paths. A step never depends on what was done before: after a crash, plan again.
"""

from __future__ import annotations

from dataclasses import dataclass

from davfusion.store.interface import Condition


@dataclass(frozen=True, slots=True)
class Upload:
    """Write a content that is here."""

    path: str
    content: int
    condition: Condition


@dataclass(frozen=True, slots=True)
class Copy:
    """Let the store copy an object that holds the content."""

    source: str
    source_version: str | None
    path: str
    content: int
    condition: Condition


@dataclass(frozen=True, slots=True)
class Move:
    """Let the store rename a file."""

    source: str
    source_version: str | None
    path: str
    content: int
    condition: Condition


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a file that is the version we know."""

    path: str
    version: str | None


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Make a folder; where folders are implied, its marker. `node` is the folder's, not always the planned one."""

    node: int
    path: str


@dataclass(frozen=True, slots=True)
class MoveFolder:
    """Let the store rename a folder with all that is in it. `node` is the folder's, not always the planned one."""

    node: int
    source: str
    path: str


@dataclass(frozen=True, slots=True)
class DeleteFolder:
    """Remove an empty folder, or the marker of an implied one."""

    path: str


@dataclass(frozen=True, slots=True)
class ListFolder:
    """Learn what is in a folder of the store that was never listed."""

    node: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring a content here, because it is about to vanish from the store or the store cannot copy it."""

    content: int


@dataclass(frozen=True, slots=True)
class Detach:
    """Take the members of a deleted folder out of it, so that each is dealt with by itself."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """The store has it where it should be, or implies it there: only the index is to say so."""

    path: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Neither tree has it: the node goes."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Others must be carried first (none named: somebody's success will wake it)."""

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Park:
    """It cannot be done; a person must decide. `reason` is a sentence for them."""

    reason: str


Step = (Upload | Copy | Move | Delete | MakeFolder | MoveFolder | DeleteFolder | ListFolder | Fetch | Detach | Adopt
        | Forget | Wait | Park)

StoreStep = Upload | Copy | Move | Delete | MakeFolder | MoveFolder | DeleteFolder
"""Steps that write to the store."""
