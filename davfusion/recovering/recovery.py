"""Brings one chunked share from its store into a state directory that does not have it.

The index is made beside the place where it belongs and put there in one step when it is whole: a recovery that is
interrupted, however that happens, leaves nothing that could be served, and can be begun again.
"""

from __future__ import annotations

import logging
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from davfusion import state
from davfusion.cache.contents import flush_folder
from davfusion.cache.index import Durability, Index
from davfusion.chunks.entry import EntryWriter, Header
from davfusion.chunks.errors import ChunksError, LeaseHeldError
from davfusion.chunks.journal import Journal
from davfusion.chunks.lease import Lease
from davfusion.chunks.marker import Marker, read_marker
from davfusion.recovering.filling import Filling
from davfusion.recovering.inventory import Inventory, files_with, lost_contents, take
from davfusion.recovering.mending import mend
from davfusion.recovering.reading import Reading, read_journal
from davfusion.settings import ConfigError, ShareSettings
from davfusion.store.errors import StoreError
from davfusion.store.interface import Store
from davfusion.sync.chunked.tenure import lease_of
from davfusion.sync.claims import SHARE

log = logging.getLogger("davfusion.recovering")

Show = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

_INDEX = "index.db"
_LOOKS = 2
_BESIDE = "recovering"
"""Folder of a state directory in which a share is made until it is whole."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came back."""

    files: int
    folders: int
    size: int
    """Bytes of all files."""
    lost: tuple[tuple[str, str], ...]
    """Paths of what did not come back, or cannot be read, and why."""
    renamed: tuple[tuple[str, str], ...]
    """Paths and former names of what got another name."""
    damage: tuple[str, ...]
    """What cannot be read in the journal itself, as sentences."""
    objects: tuple[tuple[str, str], ...]
    """Store paths of archives and blocks that are not as they should be, and why."""
    orphans: int
    """Objects in the store that the journal does not name."""
    writer: LeaseHeldError | None
    """Somebody else writes to the share now."""
    unwritten: str | None
    """Why a damaged journal could not be made whole again by a snapshot."""

    @property
    def is_whole(self) -> bool:
        """Everything came back as it was."""
        return not self.lost and not self.damage and not self.objects


def recover(store: Store, settings: ShareSettings, directory: Path, show: Show, *,
            clock: Callable[[], float] = time.time) -> Recovered:
    """Bring a share back into a state directory, whose lock the caller holds. `clock` is in seconds since the epoch.

    Raises ConfigError, with a sentence that says what to do, where that must not or cannot be done.
    """
    try:
        return _recover(store, settings, directory, show, clock)
    except (ChunksError, StoreError) as error:
        raise ConfigError(f"The share at {settings.store} cannot be recovered. {error}.") from error


def _recover(store: Store, settings: ShareSettings, directory: Path, show: Show, clock: Callable[[], float]
             ) -> Recovered:
    marker = _marker(store, settings)
    place, beside = state.share_directory(directory, settings.name), directory / _BESIDE
    shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed, also of one that was all but done
    check_free(place, settings, marker.share)
    writer = _other_writer(store, clock)
    inventory, reading = _read(store, Journal(store, marker.share), show)
    state.prepare(beside)
    made = state.claim(beside, settings)
    with _new_index(made / _INDEX, clock) as index:
        Filling(index, marker.share, lambda done, total: show("writing the index", done, total)).run(reading, inventory)
        unwritten = _begin_anew(store, marker.share, reading, index) if reading.damage else None
    _put_in_place(made, place, beside)
    log.info("share recovered", extra={"share": settings.name, "number": reading.number,
                                       "nodes": len(reading.image.nodes)})
    return _recovered(reading, inventory, writer, unwritten)


def _read(store: Store, journal: Journal, show: Show) -> tuple[Inventory, Reading]:
    """What lies in the store, and what its journal says.

    What seems to be damaged is looked at twice: a writer may have moved on between the listing and the reading.
    """
    for _ in range(_LOOKS):
        show("listing the store", 0, 0)
        inventory = take(store)
        reading = read_journal(journal, inventory, lambda done, total: show("reading the journal", done, total),
                               lambda image, inventory=inventory: mend(image, inventory, store))  # type: ignore[misc]
        if not reading.damage and not inventory.damage(reading.image):
            break
    return inventory, reading


def _marker(store: Store, settings: ShareSettings) -> Marker:
    marker = read_marker(store)
    if marker is None:
        raise ConfigError(
            f"{settings.store} holds no share in the chunked layout: there is no /davfusion.json in it. Make sure that "
            "the address is right. A share in the plain layout needs no recovery: serve it.")
    return marker


def check_free(place: Path, settings: ShareSettings, share: str) -> None:
    """Raise ConfigError where a share is at its place already; what a refused `serve` left there does not count."""
    if not (place / _INDEX).exists():
        return
    index = Index(place / _INDEX)
    try:
        view = index.view()
        known, last = view.operations.meta(SHARE), view.nodes.last_id()
    finally:
        index.close()
    if known is None and last == 1:
        return
    if known == share:
        raise ConfigError(f"The share {settings.name} is in this state directory already, with what it has not carried "
                          "to the store yet. Serve it with `davfusion serve`, look at it with `davfusion status`, or "
                          "compare it with its store with `davfusion check --store`.")
    raise ConfigError(f"This state directory holds another share by the name {settings.name}. Give another directory "
                      "with --state, or another name with --name.")


def _other_writer(store: Store, clock: Callable[[], float]) -> LeaseHeldError | None:
    """Who writes to the share now, if anybody does."""
    try:
        Lease(store, owner="", host=platform.node(), clock=clock).check_free()
    except LeaseHeldError as error:
        return error
    return None


@contextmanager
def _new_index(file: Path, clock: Callable[[], float]) -> Iterator[Index]:
    # Nothing is worth flushing before the last commit: until then the file is thrown away.
    index = Index(file, durability=Durability.PROCESS_SAFE, clock=clock)
    try:
        yield index
        index.flush()
    finally:
        index.close()


def _begin_anew(store: Store, share: str, reading: Reading, index: Index) -> str | None:
    """After damage: a snapshot of what there is, on which the journal can go on; why there is none otherwise."""
    host = platform.node()
    lease = lease_of(store, index, host=host)
    try:
        lease.acquire()
        try:
            with tempfile.TemporaryFile() as file:
                writer = EntryWriter(file, Header(kind="snapshot", number=reading.number, share=share, writer=host,
                                                  id=uuid.uuid4().hex, written=index.now()))
                for line in reading.image.lines():
                    writer.add(line)
                writer.finish()
                Journal(store, share).write_snapshot(reading.number, file)
        finally:
            lease.release()
    except (ChunksError, StoreError) as error:
        log.warning("snapshot not written", extra={"problem": str(error)})
        return str(error)
    return None


def _put_in_place(made: Path, place: Path, beside: Path) -> None:
    flush_folder(made)
    if place.exists():
        place.rename(beside / "replaced")
    made.rename(place)
    flush_folder(place.parent)
    shutil.rmtree(beside, ignore_errors=True)


def _recovered(reading: Reading, inventory: Inventory, writer: LeaseHeldError | None, unwritten: str | None
               ) -> Recovered:
    image = reading.image
    lost = [(loss.path, loss.reason) for loss in image.losses] + files_with(image, lost_contents(image, inventory))
    folders = sum(line.folder for line in image.nodes.values())
    return Recovered(
        files=len(image.nodes) - folders, folders=folders,
        size=sum(image.contents[line.content].size for line in image.nodes.values() if line.content is not None),
        lost=tuple(sorted(lost)), renamed=tuple((image.path(line.node), line.name) for line in image.renamed),
        damage=tuple(str(error) for error in reading.damage), objects=tuple(inventory.damage(image).items()),
        orphans=len(inventory.orphans(image)), writer=writer,
        unwritten=unwritten)
