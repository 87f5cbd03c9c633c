"""Holds a chunked share in its store against its own journal, and against the index of a state directory.

Nothing is changed, and a server may work meanwhile: what it has moved on while this looks does not count as wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from davfusion.cache.index import Index, View
from davfusion.cache.index.objects import DELETING, LEAVING
from davfusion.chunks import volume
from davfusion.chunks.errors import DamagedError
from davfusion.chunks.image import Image
from davfusion.chunks.journal import Journal
from davfusion.chunks.lines import ROOT, NodeLine, Part
from davfusion.chunks.marker import read_marker
from davfusion.recovering.deep import Expected, check_bytes
from davfusion.recovering.inventory import Inventory, files_with, lost_contents, objects_of, take
from davfusion.recovering.reading import Reading, read_around, read_reserve
from davfusion.store.interface import Store
from davfusion.sync.chunked.cut import content_line
from davfusion.sync.chunked.scribe import NUMBER
from davfusion.sync.chunked.snapshots import snapshot_lines

Show = Callable[[str, int, int], None]

TRIES = 5
"""How often the index and the journal are read until no change is written between the two."""
PAUSE = 1.0
"""Seconds between."""


@dataclass(slots=True)
class Audited:
    """What an audit looked at, and what it found."""

    files: int = 0
    objects: int = 0
    """Archives and blocks that the journal or the index names."""
    problems: set[tuple[str, str]] = field(default_factory=set)
    """Path of the share, or store path of an object, and what is wrong with it."""
    notes: list[str] = field(default_factory=list)
    """What could not be checked, or is of no consequence now, as sentences."""
    orphans: list[str] = field(default_factory=list)
    """Archives and blocks to which nothing refers, by store path."""


class Audit:
    """One pass over a share in its store."""

    def __init__(self, store: Store, share: str, index: Index, *, show: Show) -> None:
        """`share` is the id in the marker."""
        self._store = store
        self._share = share
        self._journal = Journal(store, share)
        self._index = index
        self._show = show
        self._found = Audited()

    def run(self, *, deep: bool) -> Audited:
        """Check everything; `deep` reads all bytes of the store. Raises StoreError, FormatError."""
        self._show("listing the store", 0, 0)
        self._check_marker()
        known, inventory, reading = self._read()
        images = [known] if reading is None else [reading.image, known]
        if reading is not None:
            self._found.files = sum(not line.folder for line in reading.image.nodes.values())
            self._check_journal(reading, inventory)
        self._check_objects(images, inventory)
        if deep:
            self._check_bytes(images, inventory)
        return self._found

    # -- the journal ----------------------------------------------------------------------------

    def _check_marker(self) -> None:
        marker = read_marker(self._store)
        if marker is None:
            self._found.problems.add((volume.MARKER, "the marker of the share is missing"))
        elif marker.share != self._share:
            self._found.problems.add((volume.MARKER, "it is the marker of another share"))

    def _read(self) -> tuple[Image, Inventory, Reading | None]:
        """What the index knows of the journal, what is in the store, and what the journal says, compared."""
        number, known = self._known()
        inventory = take(self._store)
        for _ in range(TRIES):
            try:
                reading = read_around(self._journal, inventory, self._showing("reading the journal"))
            except DamagedError as error:
                self._found.problems.add((error.path, error.reason))
                return known, inventory, None
            if self._known_number() == reading.number == number:
                self._compare(known, reading)
                return known, inventory, reading
            if reading.number < number:
                self._found.problems.add(("/journal", f"it ends with change {reading.number}, but {number} were "
                                          "written: the newest are missing"))
                return known, inventory, reading
            time.sleep(PAUSE)
            number, known = self._known()
            inventory = take(self._store)
        self._found.notes.append(
            "The index was not compared with the journal: it does not have all changes of the journal yet. Where a "
            "server runs, try again when less is changed; else start it once.")
        return known, inventory, reading

    def _known(self) -> tuple[int, Image]:
        image = Image()
        with self._index.reading() as view:
            number = _number(view)
            image.apply(snapshot_lines(view))
            # Where these lie now, the journal is still to be told.
            image.apply(content_line(view, *content) for content in view.objects.unjournalled())
        image.settle()
        return number, image

    def _known_number(self) -> int:
        return _number(self._index.view())

    def _check_journal(self, reading: Reading, inventory: Inventory) -> None:
        for error in reading.damage:
            self._found.problems.add((error.path, error.reason))
        for loss in reading.image.losses:
            self._found.problems.add((loss.path, loss.reason))
        for error in read_reserve(self._journal, inventory):
            self._found.notes.append(f"{error}; it is not needed while the newest snapshot is whole")

    def _compare(self, known: Image, reading: Reading) -> None:
        """The index and the journal must have the same nodes, with contents in the same places."""
        said = reading.image
        for node in sorted(known.nodes.keys() | said.nodes.keys()):
            if node == ROOT:
                continue
            here, there = known.nodes.get(node), said.nodes.get(node)
            if here is None or there is None or _place(here) != _place(there):
                image = said if there is not None else known
                self._found.problems.add((image.path(node), _difference(here, there)))
        moved = {content for content, _, _ in self._index.view().objects.unjournalled()}
        unlike = {content: "the index knows other places of its bytes than the journal"
                  for content, line in said.contents.items()
                  if content not in moved and line.parts != _parts(known, content)}
        self._found.problems.update(files_with(said, unlike))

    # -- objects --------------------------------------------------------------------------------

    def _check_objects(self, images: list[Image], inventory: Inventory) -> None:
        named = {path for image in images for path in objects_of(image)}
        self._found.objects = len(named)
        damage = {path: reason for image in images for path, reason in inventory.damage(image).items()
                  if self._is_still(path, inventory)}
        self._found.problems.update(damage.items())
        for image in images:
            lost = {content: reason for content, reason in lost_contents(image, inventory).items()
                    if any(part.object in damage for part in image.contents[content].parts)}
            self._found.problems.update(files_with(image, lost))
        view = self._index.view()
        self._found.orphans = [path for path in sorted(inventory.data)
                               if path not in named and view.objects.get(path) is None]

    def _is_still(self, path: str, inventory: Inventory) -> bool:
        """Whether what seems to be damaged is neither new since it was listed, nor removed on purpose meanwhile."""
        row = self._index.view().objects.get(path)
        if row is not None and row.state in (LEAVING, DELETING) and not row.journalled:
            return False
        return path in inventory.data or not self._store.exists(path)

    def _check_bytes(self, images: list[Image], inventory: Inventory) -> None:
        for checked in check_bytes(self._store, _expected(images, inventory), self._showing("reading the objects")):
            if checked.reason is None and not checked.contents:
                continue
            if not self._is_still(checked.path, inventory):
                continue
            self._found.problems.add((checked.path, checked.reason or "some of its bytes are not those of their files"))
            for image in images:
                self._found.problems.update(files_with(image, checked.contents))

    def _showing(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._show(what, done, total)


def _number(view: View) -> int:
    return int(view.operations.meta(NUMBER) or 0)


def _place(line: NodeLine) -> tuple[int, str, bool, int | None, float]:
    return line.parent, line.name, line.folder, line.content, line.modified


def _parts(image: Image, content: int) -> tuple[Part, ...] | None:
    line = image.contents.get(content)
    return None if line is None else line.parts


def _difference(here: NodeLine | None, there: NodeLine | None) -> str:
    if here is None:
        return "the journal has it, the index does not"
    if there is None:
        return "the index has it, the journal does not"
    return "the index and the journal have it differently"


def _expected(images: list[Image], inventory: Inventory) -> list[Expected]:
    """What each object that is there should hold, by any of the images."""
    parts: dict[str, set[tuple[int, Part]]] = {}
    sums: dict[str, str | None] = {}
    for image in images:
        for content, part in _all_parts(image):
            parts.setdefault(part.object, set()).add((content, part))
        for path, line in image.objects.items():
            parts.setdefault(path, set())
            sums[path] = sums.get(path) or line.sha256
    return [Expected(path, sums.get(path), sorted(found, key=_order)) for path, found in sorted(parts.items())
            if path in inventory.data]


def _all_parts(image: Image) -> Iterator[tuple[int, Part]]:
    for content in image.contents.values():
        for part in content.parts:
            yield content.content, part


def _order(entry: tuple[int, Part]) -> tuple[int, int]:
    return entry[1].offset, entry[0]
