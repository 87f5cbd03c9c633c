"""Writes of ours that take effect late: after the store was asked about them and showed nothing.

Their process died, or did not wait any longer, while the request was on its way. What was planned since does not
know of them, so that they must be known again when they come: nobody else wrote that file, or removed it.

Until a late write cannot come any more, nothing at its path counts as confirmed: who put something there keeps the
bytes, and puts it there again should it go.

Renames in one step are not remembered: only file systems of the same machine have them yet, where nothing is on its way
any more when a process is gone.
"""

from __future__ import annotations

from davfusion.cache import synced
from davfusion.cache.index import Kind, Operation, View
from davfusion.store.interface import Metadata


def give_up(view: View, operation: Operation) -> None:
    """The store shows nothing of a write that was in doubt."""
    view.operations.give_up(operation.id, view.now())
    known = view.nodes.at_store(*synced.place_of(operation.path))
    if known is not None and known.confirmed:
        view.nodes.update(known.id, confirmed=0)


def has_come(view: View, path: str, shown: Metadata | None, *, other_than: int = 0) -> bool:
    """Whether what the store shows at a path may be the work of a late write: that one is in doubt again then.

    `other_than` is an operation of which it is known that it is not.
    """
    if shown is None:
        return False
    found = _makers(view, path) if shown.is_dir else _writers(view, path, shown)
    suspects = [operation for operation in found if operation.id != other_than]
    for operation in suspects:
        view.operations.doubt_again(operation.id)
    return bool(suspects)


def forget(view: View, operation: Operation, shown: Metadata | None, *, folders: bool) -> None:
    """The store was asked for the last time about a late write: it has come now, or does not come any more.

    `folders`: the store has folders of their own. While another write is open there it is left for the next time.
    """
    if view.operations.open_near(operation.path) or has_come(view, operation.path, shown):
        return
    known = view.nodes.at_store(*synced.place_of(operation.path))
    if operation.kind is Kind.MAKE and not folders and known is not None:
        synced.doubt_absence_of_marker(view, known)
    view.operations.forget_late(operation.id)


def _writers(view: View, path: str, shown: Metadata) -> list[Operation]:
    known = view.nodes.at_store(*synced.place_of(path))
    if known is not None and known.synced_version == shown.version:
        return []
    return [operation for operation in view.operations.late_on(path) if _writes(view, operation, shown.bytes)][:1]


def _writes(view: View, operation: Operation, size: int) -> bool:
    content = view.contents.get(operation.content or 0)
    return operation.kind is Kind.WRITE and content is not None and content.size == size


def _makers(view: View, path: str) -> list[Operation]:
    """What is written below a path makes the folder, too, where folders are implied."""
    known = view.nodes.at_store(*synced.place_of(path))
    if known is not None and known.is_folder:
        return []
    made = [operation for operation in view.operations.late_on(path) if operation.kind is Kind.MAKE]
    below = [operation for operation in view.operations.late_below(path) if operation.kind in (Kind.WRITE, Kind.MAKE)]
    return made + below
