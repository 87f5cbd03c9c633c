"""The journal: numbered changes of a share in its store, and snapshots of what they come to."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from davfusion.chunks import volume
from davfusion.chunks.entry import Header, read_entry
from davfusion.chunks.errors import DamagedError, EntryTakenError
from davfusion.chunks.lines import Line
from davfusion.store.errors import AlreadyExistsError, NotFoundError, TemporaryError
from davfusion.store.interface import IfAbsent, IfVersion, Metadata, Store

log = logging.getLogger("davfusion.chunks.journal")

Result = TypeVar("Result")

REQUESTS = 8
"""Requests under way at a time, because each waits for the store."""

AHEAD = 32
"""Entries that are fetched before they are asked for, at most."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the folders of a journal list."""

    last_number: int
    """Of the newest entry or snapshot; 0 in an empty share."""
    snapshot_numbers: tuple[int, ...]
    """Ascending."""
    journal_numbers: tuple[int, ...]
    """Ascending. Those that a snapshot has made needless may be there or not."""

    def numbers_after(self, number: int) -> range:
        """The entries after `number`. Raises DamagedError when one is missing."""
        wanted = range(number + 1, self.last_number + 1)
        there = set(self.journal_numbers)
        missing = next((entry for entry in wanted if entry not in there), None)
        if missing is not None:
            raise DamagedError(volume.journal_path(missing), "this entry of the journal is missing")
        return wanted


class Journal:
    """The journal of one share. Safe for several threads and processes.

    Raises StoreError where the store fails, DamagedError and FormatError for what is in it.
    """

    def __init__(self, store: Store, share: str) -> None:
        self._store = store
        self._share = share

    def head(self, until: int = volume.LAST_NUMBER) -> Head:
        """List what is there, up to entry `until`.

        Raises DamagedError when an entry after the newest snapshot is missing.
        """
        # Entries first: a snapshot that is written meanwhile, and the pruning after it, then leave no gap in sight.
        entries = self._numbers(volume.JOURNAL, volume.parse_journal, until)
        snapshots = self._numbers(volume.SNAPSHOTS, volume.parse_snapshot, until)
        head = Head(max((0, *entries[-1:], *snapshots[-1:])), snapshots, entries)
        head.numbers_after(max(snapshots, default=0))
        return head

    def _numbers(self, folder: str, parse: Callable[[str], int | None], until: int) -> tuple[int, ...]:
        try:
            found = [parse(entry.path) for page in self._store.list_pages(folder) for entry in page]
        except NotFoundError:
            return ()
        return tuple(sorted(number for number in found if number is not None and number <= until))

    # -- writing ------------------------------------------------------------------------------

    def append(self, number: int, file: BinaryIO, entry_id: str) -> None:
        """Create entry `number` from a finished file; `entry_id` is the id in its header.

        After an error that leaves the effect unknown, call it again with the same file and id: an entry of this id
        that is there already counts as written. Where the store does not decide conditions itself the entry is read
        back. Raises EntryTakenError when another entry has the number.
        """
        path = volume.journal_path(number)
        try:
            self._store.store_fileobject(file, path, condition=IfAbsent())
        except AlreadyExistsError:
            self._check_ours(number, entry_id)
        else:
            if not self._store.capabilities.conditional_write:
                self._check_ours(number, entry_id)

    def _check_ours(self, number: int, entry_id: str) -> None:
        path = volume.journal_path(number)
        try:
            header, _ = read_entry(self._store.read(path), path)
        except NotFoundError as error:
            raise TemporaryError("The entry of the journal was there and is gone", path) from error
        if header.id != entry_id:
            raise EntryTakenError(number, header.writer, header.id)

    def write_snapshot(self, number: int, file: BinaryIO) -> None:
        """Create the snapshot of the tree after entry `number` from a finished file.

        A whole snapshot of this number that is there already says the same and is kept; a damaged one is replaced.
        """
        path = volume.snapshot_path(number)
        try:
            self._store.store_fileobject(file, path, condition=IfAbsent())
        except AlreadyExistsError:
            there = self._store.get_metadata(path)
            try:
                deque(self._open(path, "snapshot", number)[1], maxlen=0)
            except DamagedError as error:
                log.warning("snapshot replaced", extra={"snapshot": path, "reason": error.reason})
                self._replace(there, file)

    def _replace(self, there: Metadata, file: BinaryIO) -> None:
        condition = IfVersion(there.version) if there.version is not None else None
        self._store.store_fileobject(file, there.path, condition=condition)

    def prune(self, keep_from_snapshot: int) -> int:
        """Delete what is needed neither by this snapshot nor by the one before it; returns how many objects.

        There stay always two snapshots to choose from, and all entries since the older. An interrupted call has
        done a part and can be repeated.
        """
        head = self.head()
        if keep_from_snapshot not in head.snapshot_numbers:
            raise ValueError(f"There is no snapshot {keep_from_snapshot}")
        previous = max((number for number in head.snapshot_numbers if number < keep_from_snapshot), default=0)
        needless = [volume.snapshot_path(number) for number in head.snapshot_numbers if number < previous]
        needless += [volume.journal_path(number) for number in head.journal_numbers if number <= previous]
        with ThreadPoolExecutor(REQUESTS, thread_name_prefix="prune") as pool:
            deque(pool.map(lambda path: self._store.delete(path, is_dir=False), needless), maxlen=0)
        return len(needless)

    # -- reading ------------------------------------------------------------------------------

    def read(self, number: int) -> tuple[Header, list[Line]]:
        """One entry, whole and checked."""
        return _whole(self._open(volume.journal_path(number), "journal", number))

    def entries_after(self, number: int, head: Head | None = None) -> Iterator[tuple[Header, list[Line]]]:
        """The entries after `number` in order, several fetched at a time. Raises DamagedError where one is missing."""
        wanted = (head or self.head()).numbers_after(number)
        return self._fetched(wanted)

    def newest_snapshot(self, build: Callable[[Header, Iterator[Line]], Result], head: Head | None = None
                        ) -> tuple[int, Result] | None:
        """The number of the newest usable snapshot and what `build` makes of it; None when there is none to begin with.

        When one is damaged, the one before it is taken if all entries since are there, or None if all from the first
        are: `build` is called anew, and a warning is logged. Raises the DamagedError of the newest when none is left.
        """
        head = head or self.head()
        first: DamagedError | None = None
        for number in reversed(head.snapshot_numbers):
            try:
                head.numbers_after(number)
                return number, build(*self._open(volume.snapshot_path(number), "snapshot", number))
            except DamagedError as error:
                log.warning("snapshot passed over", extra={"snapshot": number, "reason": str(error)})
                first = first or error
        if first is not None and not _begins_at_one(head):
            raise first
        return None

    def _fetched(self, numbers: range) -> Iterator[tuple[Header, list[Line]]]:
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="journal")
        try:
            for number in numbers:
                waiting.append((number, pool.submit(self._bytes, volume.journal_path(number))))
                if len(waiting) == AHEAD:
                    yield self._parsed(*waiting.popleft())
            while waiting:
                yield self._parsed(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _parsed(self, number: int, future: Future[bytes]) -> tuple[Header, list[Line]]:
        path = volume.journal_path(number)
        return _whole(self._checked((future.result(),), path, "journal", number))

    def _bytes(self, path: str) -> bytes:
        return b"".join(_present(self._store.read(path), path))

    def _open(self, path: str, kind: str, number: int) -> tuple[Header, Iterator[Line]]:
        return self._checked(_present(self._store.read(path), path), path, kind, number)

    def _checked(self, pieces: Iterable[bytes], path: str, kind: str, number: int) -> tuple[Header, Iterator[Line]]:
        header, lines = read_entry(pieces, path)
        if header.share != self._share:
            raise DamagedError(path, f"it belongs to another share, {header.share}")
        if (header.kind, header.number) != (kind, number):
            raise DamagedError(path, f"it says that it is {header.kind} {header.number}")
        return header, lines


def _present(pieces: Iterator[bytes], path: str) -> Iterator[bytes]:
    """The pieces; an object that was listed and is not there is damage."""
    try:
        yield from pieces
    except NotFoundError as error:
        raise DamagedError(path, "it is missing") from error


def _whole(entry: tuple[Header, Iterator[Line]]) -> tuple[Header, list[Line]]:
    header, lines = entry
    return header, list(lines)


def _begins_at_one(head: Head) -> bool:
    try:
        head.numbers_after(0)
    except DamagedError:
        return False
    return True
