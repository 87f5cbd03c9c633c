"""Holds index, contents and store of a share against each other, and puts right what can be."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from davfusion.cache import synced
from davfusion.cache.adopt import finding
from davfusion.cache.index import Content, Record
from davfusion.cache.node import ROOT_ID
from davfusion.cache.refresh import CHANGES_NOTHING
from davfusion.cache.share import Share
from davfusion.store.errors import NotFoundError
from davfusion.store.interface import Metadata

_BATCH = 500
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be."""

    where: str
    """A path of the share, or a file of the state directory."""
    text: str
    repaired: bool = False


@dataclass(slots=True)
class Report:
    """What a verification looked at, and what it found."""

    files: int = 0
    folders: int = 0
    contents: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def unrepaired(self) -> list[Problem]:
        """The problems that are still there."""
        return [problem for problem in self.problems if not problem.repaired]


class Verification:
    """One pass over a share. With `repair` nothing else may work on the state directory.

    Repairs never drop what is not in the store: they only forget damaged copies of what is, remove files
    that nothing refers to, and take in how the store is now.
    """

    def __init__(self, share: Share, index_file: Path, *, repair: bool, lists_store: bool = True) -> None:
        """`lists_store`: compare with the listings of the store, where each file is an object (the plain layout)."""
        self._share = share
        self._index_file = index_file
        self._repair = repair
        self._lists_store = lists_store
        self._report = Report()

    def run(self) -> Report:
        """Verify everything. Raises StoreError where the store cannot be asked."""
        if self._index_is_sound():
            self._check_contents()
            self._check_orphans()
            folders = self._check_tree()
            if self._lists_store:
                self._check_store(folders)
        return self._report

    def _found(self, where: str, text: str, *, repaired: bool = False) -> None:
        self._report.problems.append(Problem(where, text, repaired=repaired))

    def _index_is_sound(self) -> bool:
        with closing(sqlite3.connect(f"{self._index_file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
        for row in rows:
            if row != "ok":
                self._found("index.db", f"the database is damaged: {row}")
        return rows == ["ok"]

    # -- contents -------------------------------------------------------------------------------

    def _contents(self) -> Iterator[Content]:
        after = 0
        while batch := self._share.index.view().contents.with_files(after, _BATCH):
            yield from batch
            after = batch[-1].id

    def _check_contents(self) -> None:
        for content in self._contents():
            self._report.contents += 1
            damage = self._damage(content)
            if damage is not None and self._share.index.view().contents.get(content.id) == content:
                self._lose(content, damage)
        for content in self._share.index.view().contents.broken_small():
            self._lose(content, "the bytes in the index are gone")
        self._report.contents += self._share.index.view().contents.count_small()

    def _damage(self, content: Content) -> str | None:
        """What is wrong with a cache file; None when nothing is."""
        path = self._share.files.path(content.file or "")
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return "the cached bytes are gone"
        if content.whole and size != content.size:
            return f"the cached bytes are {size} instead of {content.size}"
        if content.whole and content.checksum is not None and _crc(path) != content.checksum:
            return "the cached bytes are damaged"
        return None

    def _lose(self, content: Content, damage: str) -> None:
        view = self._share.index.view()
        in_store = bool(view.nodes.holders(content.id))
        names = [view.nodes.path(node) for node in view.nodes.unsynced_users(content.id)]
        names += [view.nodes.path(record.id) for record in view.nodes.holders(content.id)]
        where = ", ".join(name for name in names if name) or content.file or f"content {content.id}"
        if not in_store:
            self._found(where, f"{damage}, and the store does not have them; save the file again")
            return
        if self._repair:
            self._share.index.write(lambda view: view.contents.lose(content.id))
            if content.file is not None:
                self._share.files.remove(content.file)
        self._found(where, f"{damage}; the store has them", repaired=self._repair)

    def _check_orphans(self) -> None:
        known = {content.file for content in self._contents()}
        for file in list(self._share.files.files()):
            if file in known or not (self._repair or self._share.files.is_orphan_age(file)):
                continue
            if self._repair:
                self._share.files.remove(file)
            self._found(file, "a cache file to which nothing refers", repaired=self._repair)

    # -- the tree -------------------------------------------------------------------------------

    def _check_tree(self) -> list[tuple[Record, str]]:
        """Whether the bytes of every file are somewhere; returns the folders whose listing is known."""
        view = self._share.index.view()
        root = view.nodes.get(ROOT_ID)
        assert root is not None
        folders = [(root, "")]
        for record, path in view.nodes.subtree(ROOT_ID):
            if record.is_folder:
                self._report.folders += 1
                folders.append((record, path))
                continue
            self._report.files += 1
            content = view.contents.get(record.content or 0)
            if content is None:
                self._found(path, "the index does not know its content; save the file again")
            elif not content.whole and not view.nodes.holders(content.id):
                self._found(path, "its bytes are neither here nor in the store; save the file again")
        return [(record, path) for record, path in folders if record.is_synced or record.id == ROOT_ID]

    # -- the store ------------------------------------------------------------------------------

    def _check_store(self, folders: list[tuple[Record, str]]) -> None:
        for record, path in folders:
            if record.listed is None or self._share.index.view().nodes.get(record.id) is None:
                continue
            different = list(self._differences(record))
            if different and self._repair:
                self._share.lister.refresh(record.id)
            for name, text in different:
                self._found(f"{path}/{name}", text, repaired=self._repair)

    def _differences(self, folder: Record) -> Iterator[tuple[str, str]]:
        """Names of a folder under which the store shows something else than the index knows, and what."""
        since = self._share.index.view().operations.sequence()
        shown = self._listing(folder)
        view = self._share.index.view()
        known = {record.synced_name: record
                 for record in view.nodes.in_store_folder(synced.store_folder(folder.synced_path or "/"))}
        unsettled = view.operations.unsettled_names(synced.store_folder(folder.synced_path or "/"), since)
        for name in sorted({*shown, *(name for name in known if name)} - unsettled):
            found = finding(view, folder, name, shown.get(name))
            if found not in CHANGES_NOTHING:
                yield name, _difference(shown.get(name), known.get(name))

    def _listing(self, folder: Record) -> dict[str, Metadata]:
        try:
            pages = self._share.store.list_pages(folder.synced_path or "/")
            return {entry.path.rpartition("/")[2]: entry for page in pages for entry in page}
        except NotFoundError:
            return {}


def _difference(shown: Metadata | None, known: Record | None) -> str:
    if known is None:
        return "new in the store"
    if shown is None:
        return "gone from the store"
    return "changed in the store"


def _crc(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum
