"""Finds nodes by their paths, and has at hand what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from davfusion.cache.generation import Generation
from davfusion.cache.index import Index, Record
from davfusion.cache.index.paths import Sight
from davfusion.cache.kept import Kept
from davfusion.cache.listing import FolderLister
from davfusion.cache.node import Node
from davfusion.store.errors import TemporaryError

LIMIT = 8 << 20
"""Bytes of nodes that a process keeps at hand for a share, roughly."""
_EACH = 1024
"""Bytes that a node takes beside its path, roughly."""


class _Found(NamedTuple):
    """A node as the index had it in one generation, good from and until these times (seconds since the epoch)."""

    node: Node
    generation: int
    since: float
    until: float
    sight: Sight | None
    """What it was made of; None for the root."""


class Finder:
    """Looks paths up in the index, after folders that are not known or too old were listed. Thread-safe.

    A node that was found is found again without asking the index as long as nobody has committed anything and the
    listing of its folder is fresh; after a commit one statement tells whether it is still the same.
    """

    def __init__(self, index: Index, lister: FolderLister, generation: Generation, *, revalidate_after: float) -> None:
        """`revalidate_after`: seconds for which the listing of a folder is good."""
        self._index = index
        self._lister = lister
        self._generation = generation
        self._revalidate_after = revalidate_after
        self._kept: Kept[str, _Found] = Kept(LIMIT)

    def find(self, path: str) -> Node | None:
        """The node at the path; None only when there is certainly none. Raises StoreError, TemporaryError."""
        generation = self._generation.now()
        kept = self._kept.get(path)
        if kept is not None and kept.generation == generation and kept.since <= self._index.now() < kept.until:
            return kept.node
        sight = self._sight(path)
        return self._find_listed(path, generation) if sight is None else self._seen(path, generation, sight, kept)

    def find_to_change(self, path: str) -> Node | None:
        """As `find`, for a path that is about to be written to: what is found is not kept."""
        sight = self._sight(path)
        if sight is None:
            return self._find_listed(path, self._generation.now())
        return None if sight.id is None else self._index.view().node(sight, path)

    def freshen(self, folder: Node) -> float:
        """List a folder in the store when what is known of its members is stale.

        Returns the time until which what is known now is good, in seconds since the epoch. Raises StoreError.
        """
        record = self._index.view().nodes.get(folder.id)
        if record is not None and self._lister.ensure(record):
            record = self._index.view().nodes.get(folder.id)
        if record is None:
            return -math.inf
        return self._until(synced=record.is_synced, listed=record.listed)

    def _sight(self, path: str) -> Sight | None:
        """What the index says of the path; None where that does not settle it."""
        sight = None if path == "/" else self._index.view().paths.look_up(path)
        return sight if sight is not None and sight.in_folder and self._is_known(sight) else None

    def settles(self, above: Sequence[Record]) -> bool:
        """Whether it is known what the last of these nodes holds, from the root down, with no listing."""
        *others, folder = above
        return folder.is_folder and (self._lister.knows_all or (
            all(each.knows_members or not each.is_synced for each in others)
            and self._is_fresh(synced=folder.is_synced, listed=folder.listed)))

    def _is_known(self, sight: Sight) -> bool:
        """Whether nothing needs to be listed."""
        return self._lister.knows_all or (
            bool(sight.known_above)
            and self._is_fresh(synced=bool(sight.folder_is_synced), listed=sight.folder_listed))

    def _is_fresh(self, *, synced: bool, listed: float | None) -> bool:
        """Whether a folder need not be listed. A clock that was set back makes a listing old."""
        began = listed or 0.0
        return not synced or 0.0 < began <= self._index.now() < self._until(synced=True, listed=began)

    def _until(self, *, synced: bool, listed: float | None) -> float:
        """When the listing of a folder is too old, in seconds since the epoch."""
        return (listed or 0.0) + self._revalidate_after if synced and not self._lister.knows_all else math.inf

    def _seen(self, path: str, generation: int, sight: Sight, kept: _Found | None) -> Node | None:
        if sight.id is None:
            return None
        node = kept.node if kept is not None and kept.sight == sight else self._index.view().node(sight, path)
        until = self._until(synced=bool(sight.folder_is_synced), listed=sight.folder_listed)
        self._keep(_Found(node, generation, self._index.now(), until, sight))
        return node

    def _keep(self, found: _Found) -> None:
        self._kept.put(found.node.path, found, _EACH + len(found.node.path))

    def _find_listed(self, path: str, generation: int) -> Node | None:
        """The node at the path, after every folder on the way was listed that has to be."""
        depth = 0 if path == "/" else path.count("/")
        asked: set[int] = set()
        for _ in range(depth + 3):
            view = self._index.view()
            chain = view.nodes.chain(path)
            complete = len(chain) == depth + 1
            folders = chain if not complete and chain[-1].is_folder else chain[:-1]
            if self._refresh_first(folders, asked):
                continue
            if not complete:
                return None
            node = view.node(chain[-1], path)
            if depth == 0:
                self._keep(_Found(node, generation, -math.inf, math.inf, None))
            return node
        raise TemporaryError("The folder keeps changing in the store", path, retry_after=1.0)

    def _refresh_first(self, folders: list[Record], asked: set[int]) -> bool:
        """List the first of these folders whose members are not known, or the last when it is stale; each only once.

        Returns whether the tree may be another now.
        """
        for record in folders:
            needed = not record.knows_members or record is folders[-1]
            if needed and record.id not in asked and self._lister.ensure(record):
                asked.add(record.id)
                return True
        return False
