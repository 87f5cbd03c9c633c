"""Reads the journal of a share, also one that is damaged: all that the rest of it says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from davfusion.chunks import volume
from davfusion.chunks.entry import Header
from davfusion.chunks.errors import DamagedError
from davfusion.chunks.image import Image, load
from davfusion.chunks.journal import AHEAD, REQUESTS, Head, Journal
from davfusion.chunks.lines import Line
from davfusion.recovering.inventory import Inventory

Show = Callable[[int, int], None]
"""Told how much is done, of how much."""
Mend = Callable[[Image], set[int]]
"""Completes an image before it is settled; the contents of which it says something that the journal does not say."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was read: how many entries, and the bytes of these and of the snapshot before them."""

    entries: int
    entry_bytes: int
    snapshot_bytes: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal says."""

    image: Image
    """Settled."""
    number: int
    """Of the last entry."""
    damage: tuple[DamagedError, ...]
    """Entries and snapshots that could not be read, by path; what only they said is not in the image."""
    mended: frozenset[int] = frozenset()
    """Contents of which the journal does not say, or not rightly, where they lie; the image does."""

    def costs(self, inventory: Inventory) -> Costs:
        """What the next reader has to read, unless a snapshot is written before."""
        sizes = inventory.journal
        base = max((number for path in sizes if (number := volume.parse_snapshot(path)) is not None), default=0)
        entries = [size for path, size in sizes.items() if (volume.parse_journal(path) or 0) > base]
        return Costs(len(entries), sum(entries), sizes.get(volume.snapshot_path(base), 0) if base else 0)


def _no_mending(image: Image) -> set[int]:
    del image
    return set()


def read_journal(journal: Journal, inventory: Inventory, show: Show, mend: Mend = _no_mending) -> Reading:
    """The share as its journal says it is. Raises StoreError; FormatError; DamagedError where nothing can be read.

    What is damaged is passed over; an entry that was not listed is asked for by its name before it counts as missing.
    """
    try:
        image, number = load(journal, show)
    except DamagedError:
        return read_around(journal, inventory, show, mend)
    return Reading(image, number, (), frozenset(mend(image)))


def read_around(journal: Journal, inventory: Inventory, show: Show, mend: Mend = _no_mending) -> Reading:
    """Read everything but what is damaged, from the newest snapshot that is whole. Raises as `read_journal`."""
    entries = _numbers(inventory, volume.parse_journal)
    snapshots = _numbers(inventory, volume.parse_snapshot)
    last = max([*entries, *snapshots], default=0)
    damage: list[DamagedError] = []
    base, image = _newest(journal, snapshots, damage)
    if base == 0 and snapshots and (not entries or entries[0] != 1):
        raise damage[0]
    for done, lines in enumerate(_readable(journal, range(base + 1, last + 1), damage), start=1):
        image.apply(lines)
        show(done, last - base)
    mended = frozenset(mend(image))
    image.settle()
    return Reading(image, last, tuple(sorted(damage, key=lambda error: error.path)), mended)


def read_reserve(journal: Journal, inventory: Inventory) -> list[DamagedError]:
    """What is damaged of that from which the share could be read if its newest snapshot were not there."""
    snapshots = _numbers(inventory, volume.parse_snapshot)
    damage: list[DamagedError] = []
    if snapshots:
        previous = snapshots[-2] if len(snapshots) > 1 else 0
        _newest(journal, [previous] if previous else [], damage)
        deque(_readable(journal, range(previous + 1, snapshots[-1] + 1), damage), maxlen=0)
    return damage


def _newest(journal: Journal, snapshots: list[int], damage: list[DamagedError]) -> tuple[int, Image]:
    for number in reversed(snapshots):
        try:
            found = journal.newest_snapshot(_image, Head(number, (number,), ()))
        except DamagedError as error:
            damage.append(error)
            continue
        if found is not None:
            return found
    return 0, Image()


def _readable(journal: Journal, numbers: range, damage: list[DamagedError]) -> Iterator[list[Line]]:
    """The lines of each entry in order; none for one that cannot be read."""
    def read(number: int) -> list[Line] | DamagedError:
        try:
            return journal.read(number)[1]
        except DamagedError as error:
            return error
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="journal") as pool:
        for start in range(numbers.start, numbers.stop, AHEAD):
            for found in pool.map(read, numbers[start - numbers.start:start - numbers.start + AHEAD]):
                if isinstance(found, DamagedError):
                    damage.append(found)
                    yield []
                else:
                    yield found


def _image(header: Header, lines: Iterator[Line]) -> Image:
    del header
    image = Image()
    image.apply(lines)
    return image


def _numbers(inventory: Inventory, parse: Callable[[str], int | None]) -> list[int]:
    return sorted(number for path in inventory.journal if (number := parse(path)) is not None)
