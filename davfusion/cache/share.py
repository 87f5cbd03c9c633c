"""The share as the request path sees it: what clients read and write.

Reads come from the index and the cache files, and from the store where something is missing or too
old. Writes touch the index and the cache files only; the engine (`sync`) carries them to the store.
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from davfusion.cache import tree
from davfusion.cache.allowance import Allowance
from davfusion.cache.contents import SMALL, ContentFiles
from davfusion.cache.errors import LockConflictError, NoParentError, NoSuchNodeError
from davfusion.cache.fetch import Fetcher
from davfusion.cache.finding import Finder
from davfusion.cache.flusher import Flusher
from davfusion.cache.generation import Generation
from davfusion.cache.guard import Guard
from davfusion.cache.incoming import Incoming
from davfusion.cache.index import Durability, Index, LockRow, View
from davfusion.cache.index.paths import Member
from davfusion.cache.layout import Layout, PlainLayout
from davfusion.cache.listing import Freshness
from davfusion.cache.measured import Measured
from davfusion.cache.node import Lock, Node, PropertyChange, Quota
from davfusion.cache.opening import Opener
from davfusion.cache.putting import Putting
from davfusion.cache.reader import Reader
from davfusion.cache.space import Space, SpaceLimits
from davfusion.cache.statistics import AccessCounter
from davfusion.store.errors import TooLargeError
from davfusion.store.interface import Store

log = logging.getLogger("davfusion.cache.share")


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How a share keeps its promises; times in seconds."""

    durability: Durability = Durability.POWER_SAFE
    limits: SpaceLimits = field(default_factory=SpaceLimits)
    freshness: Freshness = field(default_factory=Freshness)
    upload_delay: float = 5.0
    """How long a change waits for further ones before it travels."""
    read_only: bool = False
    small: int = SMALL
    """Bytes up to which a content lies in the index instead of a file."""


QUOTA_RECHECK = 0.5
"""Seconds for which measured quota is relied upon for bodies that it leaves plenty of room for."""


class Share:
    """One share. Thread-safe; any number of processes may have one on the same state directory.

    Paths are local paths. Every method may raise StoreError where the store had to be asked and could
    not: never "not found" by accident. A change is durable, as the setting promises, when its call
    returns.
    """

    def __init__(self, state: Path, store: Store, *, name: str = "", settings: CacheSettings | None = None,
                 index: Index | None = None, layout: Layout | None = None) -> None:
        """`layout` is how the share lies in its store: plain unless told."""
        self.name = name
        self.layout = layout or PlainLayout()
        self.settings = settings or CacheSettings()
        self.store = store
        flush = self.settings.durability is Durability.POWER_SAFE
        self.files = ContentFiles(state, flush=flush, small=self.settings.small)
        self.index = index or Index(state / "index.db", durability=self.settings.durability)
        self.space = Space(self.index, self.files, self.settings.limits)
        self.lister = self.layout.lister(self.index, store, self.settings.freshness)
        self.accesses = AccessCounter(self.index)
        self.fetcher = Fetcher(
            self.index, self.layout.source(self.index, store), self.files, self.space, self.accesses)
        self.opener = Opener(self.index, self.files, self.fetcher, self.accesses)
        self.generation = Generation(turns=self.index.turns, data_version=self.index.data_version)
        self._finder = Finder(self.index, self.lister, self.generation,
                              revalidate_after=self.settings.freshness.revalidate_after)
        self._putting = Putting(self.index, self.files, self._finder, upload_delay=self.settings.upload_delay)
        self._quota = Measured(self._measure_quota)
        self._allowance = Allowance(QUOTA_RECHECK)
        self.flusher = None if flush else Flusher(self.index, self.files)
        if self.flusher is not None:
            self.flusher.start()

    @property
    def read_only(self) -> bool:
        """No change is accepted."""
        return self.settings.read_only

    def close(self) -> None:
        """Finish what is under way in the background and close the index; the store stays open."""
        self.lister.close()
        self.fetcher.close()
        self.accesses.flush()
        if self.flusher is not None:
            self.flusher.stop()
        self.index.close()

    # -- the tree ---------------------------------------------------------------------------------

    def find(self, path: str) -> Node | None:
        """The node at the path; None only when there is certainly none. Stale folders are listed first."""
        return self._finder.find(path)

    def find_known(self, path: str) -> Node | None:
        """The node at the path as the index knows it, without asking the store."""
        return self.index.view().find(path)

    def find_place(self, path: str) -> Node | None:
        """As `find`, for a path that is about to be written to: what is found is not kept at hand."""
        return self._finder.find_to_change(path)

    def children(self, folder: Node) -> list[Node]:
        """The members of a folder, by name; the folder is listed first when it is stale."""
        self.freshen(folder)
        return self.nodes(folder, self.members(folder))

    def members(self, folder: Node) -> list[Member]:
        """The members of a folder, by name, as the index knows them; those that are equal look the same to clients."""
        return self.index.view().paths.members(folder.id)

    def nodes(self, folder: Node, members: Iterable[Member]) -> list[Node]:
        """Members of the folder as nodes."""
        view, prefix = self.index.view(), folder.path.rstrip("/")
        return [view.node(member, f"{prefix}/{member.name}") for member in members]

    def freshen(self, folder: Node) -> float:
        """List a folder in the store when what is known of its members is stale.

        Returns the time until which what is known now is good, in seconds since the epoch.
        """
        return self._finder.freshen(folder)

    def walk(self, folder: Node) -> Iterator[Node]:
        """All descendants, a folder before its members."""
        pending = [iter(self.children(folder))]
        while pending:
            child = next(pending[-1], None)
            if child is None:
                pending.pop()
                continue
            yield child
            if child.is_folder:
                pending.append(iter(self.children(child)))

    def make_folder(self, path: str, *, guard: Guard | None = None, modified: float | None = None) -> Node:
        """A new folder. Raises NodeExistsError, NoParentError."""
        def change(view: View) -> Node:
            _check(guard, view)
            tree.make_folder(view, path, modified=_or_now(modified, view), due=self._due(view))
            return _found(view, path)
        return self.index.write(change)

    def delete(self, path: str, *, guard: Guard | None = None) -> None:
        """Delete a file, or a folder with all that is in it, in one step. Raises NoSuchNodeError."""
        def change(view: View) -> None:
            _check(guard, view)
            tree.delete(view, path, due=self._due(view))
        self.index.write(change)

    def move(self, source: str, destination: str, *, overwrite: bool, guard: Guard | None = None) -> bool:
        """Rename, in one step whatever the size; returns whether nothing was at the destination.

        Raises NoSuchNodeError, NodeExistsError (something is there and `overwrite` is False),
        NoParentError, IntoItselfError.
        """
        def change(view: View) -> bool:
            _check(guard, view)
            return tree.move(view, source, destination, overwrite=overwrite, due=self._due(view))
        return self.index.write(change)

    def copy(self, source: str, destination: str, *, overwrite: bool, infinite: bool = True,
             guard: Guard | None = None) -> bool:
        """Copy a file or folder (without its members when not `infinite`); returns and raises as `move`."""
        origin = self.find(source)
        if origin is None:
            raise NoSuchNodeError("Nothing has this name", source)
        if origin.is_folder and infinite:
            self._know_all(origin)

        def change(view: View) -> bool:
            _check(guard, view)
            return tree.copy(view, source, destination, overwrite=overwrite, infinite=infinite, due=self._due(view))
        return self.index.write(change)

    # -- contents ---------------------------------------------------------------------------------

    def open(self, node: Node) -> Reader:
        """Open a file for reading from its beginning; the first bytes are at hand when this returns.

        Raises NoSuchNodeError when the file is gone, StoreError; OSError when bytes that are nowhere else are lost.
        """
        return self.opener.open(node)

    def receive(self, length: int | None = None) -> Incoming:
        """Take in a body of `length` bytes (None: not announced). Raises CacheFullError, TooLargeError before it."""
        if length is not None and length > self.layout.largest_file(self.store):
            raise TooLargeError("The file is larger than the store accepts")
        self.space.reserve(length or 0)
        return self.files.receive(length, admit=self.space.admit)

    def takes_small(self, length: int) -> bool:
        """Whether a body of `length` bytes may be put by `begin_put_small`: room is set aside for it then.

        It counts as used when it is committed; what is set aside is far less than what is free. Raises CacheFullError.
        """
        return (length <= self.files.small and length <= self.layout.largest_file(self.store)
                and self.space.reserve(length))

    def put(self, path: str, incoming: Incoming, *, guard: Guard | None = None, modified: float | None = None,
            media_type: str | None = None) -> tuple[Node, bool]:
        """Make a complete body the content of the file at `path`; returns the node and whether it is new.

        Raises NoParentError; WrongKindError when a folder is there. The body is gone afterwards, either way.
        """
        return self.begin_put(path, incoming, guard=guard, modified=modified, media_type=media_type)()

    def begin_put(self, path: str, incoming: Incoming, *, guard: Guard | None = None, modified: float | None = None,
                  media_type: str | None = None) -> Callable[[], tuple[Node, bool]]:
        """Begin to `put` a body; it is done, and raises, when what is returned is called, once, by any thread.

        Those that are begun by one thread before it asks for what came of them share one commit. The body is not the
        caller's any more.
        """
        return self._putting.begin(path, incoming, guard=guard, modified=modified, media_type=media_type)

    def begin_put_small(self, path: str, body: bytes, *, guard: Guard, modified: float | None = None,
                        media_type: str | None = None) -> Callable[[], tuple[Node, bool]]:
        """As `begin_put`, with a body that is wholly here and small, to a path that was not looked up, in any spelling.

        The guard must ask for nothing but locks. What is returned raises UnsettledError, and nothing was put, where
        what is known does not tell that the path is a file's.
        """
        return self._putting.begin_small(path, body, guard=guard, modified=modified, media_type=media_type)

    # -- properties -------------------------------------------------------------------------------

    def properties(self, node: Node) -> dict[str, bytes]:
        """The dead properties of a node: Clark name to element XML."""
        return self.index.view().properties.of(node.id)

    def properties_of_children(self, folder: Node) -> dict[int, dict[str, bytes]]:
        """The dead properties of the members that have any, by node id."""
        return self.index.view().properties.of_children(folder.id)

    def change_properties(self, path: str, changes: Sequence[PropertyChange], *, modified: float | None = None,
                          created: float | None = None, guard: Guard | None = None) -> Node:
        """Set and remove dead properties and times: all or nothing. Raises NoSuchNodeError."""
        def change(view: View) -> Node:
            _check(guard, view)
            node = _found(view, path)
            view.properties.change(node.id, changes)
            if modified is not None:
                view.nodes.update(node.id, modified=modified)
            if created is not None:
                view.nodes.update(node.id, created=created)
            if self.layout.keeps_attributes:
                view.nodes.update(node.id, scattered=1, due=self._due(view))
            return _found(view, path)
        return self.index.write(change)

    # -- locks ------------------------------------------------------------------------------------

    def lock(self, path: str, *, exclusive: bool, infinite: bool, owner: bytes, principal: str, timeout: float,
             guard: Guard | None = None) -> tuple[Lock, Node | None]:
        """Lock; where nothing is, an empty file is made in the same step and returned (RFC 4918, 7.3).

        `timeout` in seconds. Raises LockConflictError, NoParentError.
        """
        def change(view: View) -> tuple[Lock, Node | None]:
            _check(guard, view)
            _check_conflicts(view, path, exclusive=exclusive, infinite=infinite)
            created = None
            if view.find(path) is None:
                empty, = view.contents.receive_small([b""], view.now())
                spot, = view.nodes.spots([path])
                tree.check_file_place(path, spot)
                tree.put_files(view, [tree.Save(spot, empty, view.now())], due=self._due(view))
                created = view.find(path)
            row = LockRow(
                token=f"opaquelocktoken:{secrets.token_hex(16)}", node=_found(view, path).id, exclusive=exclusive,
                infinite=infinite, owner=owner, principal=principal, timeout=timeout, expires=view.now() + timeout)
            view.locks.insert(row)
            lock = view.lock_by_token(row.token)
            assert lock is not None
            return lock, created
        return self.index.write(change)

    def lock_by_token(self, token: str) -> Lock | None:
        """The lock with this token, unless it has expired."""
        return self.index.view().lock_by_token(token)

    def refresh_lock(self, token: str, timeout: float) -> Lock:
        """Give a lock `timeout` seconds from now. Raises NoSuchNodeError when it has expired or never was."""
        def change(view: View) -> Lock:
            view.locks.extend_live(token, timeout, view.now())
            lock = view.lock_by_token(token)
            if lock is None:
                raise NoSuchNodeError("There is no such lock", token)
            return lock
        return self.index.write(change)

    def unlock(self, token: str) -> None:
        """Remove a lock; one that is gone is fine. What waited for it may travel after the upload delay."""
        self.index.write(lambda view: view.locks.remove(token))

    def locks_on(self, path: str) -> list[Lock]:
        """Locks that cover the path, mapped or not: its own, and those of depth infinity above it."""
        return self.index.view().locks_on(path)

    def locks_under(self, path: str) -> list[Lock]:
        """Locks whose root is strictly below the path."""
        return self.index.view().locks_under(path)

    def has_locks(self) -> bool:
        """Whether anything at all is locked."""
        return self.index.view().locks.any(self.index.now())

    # -- space ------------------------------------------------------------------------------------

    def quota(self) -> Quota:
        """Bytes used by the share and bytes that can still be written (RFC 4331); of a large share seconds old."""
        return self._quota.get()

    def room_for(self, length: int) -> int | None:
        """Bytes that can still be written (None: unknown), as the quota says; at least `length` are told without
        measuring where there was plenty a moment ago."""
        if self._allowance.take(length):
            return length
        room = self.quota().available
        self._allowance.refill(sys.maxsize if room is None else room)
        return room

    def _measure_quota(self) -> Quota:
        view = self.index.view()
        available = self.space.available()
        store_free = view.operations.meta("store_free")
        if store_free:
            available = min(available, max(0, int(store_free) - view.nodes.dirty_bytes()))
        return Quota(used=view.nodes.totals()[1], available=available)

    # -- inside -----------------------------------------------------------------------------------

    def _know_all(self, folder: Node) -> None:
        """List every folder below that was never listed, so that a copy is complete."""
        if self.lister.knows_all:
            return
        pending = [folder.id]
        while pending:
            view = self.index.view()
            record = view.nodes.get(pending.pop())
            if record is None:
                continue
            if not record.knows_members:
                self.lister.ensure(record)
            pending += self.index.view().nodes.subfolders(record.id)

    def _due(self, view: View) -> float:
        return view.now() + self.settings.upload_delay


def _check(guard: Guard | None, view: View) -> None:
    if guard is not None:
        guard(view)


def _or_now(modified: float | None, view: View) -> float:
    return view.now() if modified is None else modified


def _found(view: View, path: str) -> Node:
    node = view.find(path)
    if node is None:
        raise NoSuchNodeError("Nothing has this name", path)
    return node


def _check_conflicts(view: View, path: str, *, exclusive: bool, infinite: bool) -> None:
    """RFC 4918, 6.1 and 9.10.5: an exclusive lock tolerates no other, a shared one no exclusive one."""
    if path != "/" and view.find(path.rpartition("/")[0] or "/") is None:
        raise NoParentError("The folder that should hold it does not exist", path)
    others = view.locks_on(path) + (view.locks_under(path) if infinite else [])
    conflicting = [lock for lock in others if exclusive or lock.exclusive]
    if conflicting:
        raise LockConflictError("Somebody else has locked it", path, conflicting)
