"""Whose work it is that the store shows: a write of ours is known by its bytes, which are compared."""

from __future__ import annotations

from davfusion.cache import synced
from davfusion.cache.index import Kind, Operation, Record
from davfusion.cache.share import Share
from davfusion.cache.whole import open_whole
from davfusion.store.errors import ConflictError, NotFoundError, TemporaryError
from davfusion.store.interface import Metadata


class Authors:
    """Looks for the write of ours behind what is at a path. Thread-safe."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._index = share.index
        self._store = share.store

    def of(self, path: str, shown: Metadata | None, operation: Operation | None) -> Operation | None:
        """The write that made what the store shows: the doubtful one, or one that came late. None: somebody else.

        Raises StoreError when the bytes to compare with cannot be had now.
        """
        suspects = [*([] if operation is None else [operation]), *self._index.view().operations.late_on(path)]
        return next((suspect for suspect in suspects if self._is_ours(suspect, shown)), None)

    def _is_ours(self, operation: Operation, shown: Metadata | None) -> bool:
        if shown is None or operation.kind not in (Kind.WRITE, Kind.MAKE):
            return False
        known = self._index.view().nodes.at_store(*synced.place_of(operation.path))
        if operation.kind is Kind.MAKE:
            return shown.is_dir and not (operation.late and self._is_theirs_too(operation.path, known))
        if shown.is_dir or (known is not None and known.synced_version == shown.version):
            return False
        return self._same_bytes(operation, shown)

    def _is_theirs_too(self, folder: str, known: Record | None) -> bool:
        """Whether a folder is known for another reason, or somebody put something into it."""
        if known is not None and known.is_folder:
            return True
        try:
            return any(page for page in self._store.list_pages(folder))
        except NotFoundError:
            return False

    def _same_bytes(self, operation: Operation, shown: Metadata) -> bool:
        content = self._index.view().contents.get(operation.content or 0)
        if content is None or content.size != shown.bytes:
            return False
        if content.size == 0:
            return True
        if not content.whole:
            try:
                if not self._share.fetcher.fetch_whole(content.id):
                    return False
            except (NotFoundError, ConflictError):
                self._see_that_nothing_moves(operation, content.id)
                return self._kept_its_version(operation, shown)
        opened = open_whole(self._index.view(), self._share.files, content.id)
        if opened is None:
            return False
        with opened as ours:
            for piece in self._store.read(shown.path, if_version=shown.version):
                if ours.read(len(piece)) != piece:
                    return False
            return not ours.read(1)

    def _see_that_nothing_moves(self, operation: Operation, content: int) -> None:
        """Raises TemporaryError while a later write, in doubt too, may have taken the bytes to another place."""
        view = self._index.view()
        for holder in view.nodes.holders(content):
            if any(other.id > operation.id and other.node != operation.node
                   for other in view.operations.open_near(holder.synced_path or "/")):
                raise TemporaryError("Another write must be cleared up before", operation.path, retry_after=1.0)

    def _kept_its_version(self, operation: Operation, shown: Metadata) -> bool:
        """The bytes to compare with went away with the move: a rename may keep the version."""
        record = self._index.view().nodes.get(operation.node)
        return (record is not None and record.synced_content == operation.content
                and record.synced_version == shown.version)
