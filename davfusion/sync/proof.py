"""Sees to it that an object goes only when another that is to have its bytes is really there.

A content that is not here and lies in several objects may lose one of them. Those that the store has not
shown since they were written are not relied upon: they are looked at first.
"""

from __future__ import annotations

import logging

from davfusion.cache import synced
from davfusion.cache.index import Record, View
from davfusion.cache.share import Share
from davfusion.store.errors import TemporaryError
from davfusion.store.interface import Metadata
from davfusion.sync.settle import Settler

log = logging.getLogger("davfusion.sync.proof")


class Prover:
    """Looks at objects before another with the same bytes is overwritten or removed. For one engine."""

    def __init__(self, share: Share, settler: Settler) -> None:
        self._share = share
        self._index = share.index
        self._settler = settler

    def may_go(self, path: str) -> bool:
        """Whether the object at a store path is not the only proven place of bytes that are needed.

        False: what was taken for another place of them is none, and is written again; plan anew. Raises StoreError.
        """
        other = self._unproven(path)
        if other is None:
            return True
        if self._index.view().operations.may_come(other.synced_path or "/"):
            self._bring_here(other)
            return False
        shown = self._share.store.find(other.synced_path or "/")
        if shown is not None and shown.version != other.synced_version:
            if not self._settler.reconsider(other.synced_path or "/", []):
                raise TemporaryError("The store shows a file that is not known to be there", other.synced_path)
            return False
        self._index.write(lambda view: _record(view, other, shown))
        return shown is not None

    def _bring_here(self, other: Record) -> None:
        """What is there may be gone the next moment, by a removal of ours that is late."""
        if not self._share.fetcher.fetch_whole(other.synced_content or 0):
            raise TemporaryError("There is no room in the cache to bring the file here", other.synced_path)

    def _unproven(self, path: str) -> Record | None:
        """An object that alone would be left with the bytes of the one at the path, and that no listing has shown."""
        view = self._index.view()
        owner = view.nodes.at_store(*synced.place_of(path))
        if owner is None or owner.synced_content is None:
            return None
        held = view.contents.get(owner.synced_content)
        if held is None or held.whole or not view.nodes.users(held.id):
            return None
        others = [holder for holder in view.nodes.holders(held.id) if holder.id != owner.id]
        return None if not others or any(holder.confirmed for holder in others) else others[0]


def _record(view: View, before: Record, shown: Metadata | None) -> None:
    record = view.nodes.get(before.id)
    if record is None or record.synced_path != before.synced_path or record.synced_version != before.synced_version:
        return
    if view.operations.open_near(record.synced_path or "/"):
        return
    if shown is None:
        log.warning("write lost by the store", extra={"path": record.synced_path})
        synced.unsync(view, record)
    else:
        view.nodes.update(record.id, confirmed=1)
