"""What lies in the store of a chunked share, held against what the journal says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from davfusion.chunks import volume
from davfusion.chunks.image import Image
from davfusion.store.errors import NotFoundError
from davfusion.store.interface import Metadata, Store

_DATA = (volume.ARCHIVES, volume.BLOCKS)
_JOURNAL = (volume.JOURNAL, volume.SNAPSHOTS)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Sizes in bytes of the objects in a store, by store path."""

    data: Mapping[str, int]
    """Archives and blocks."""
    journal: Mapping[str, int]
    """Entries of the journal and snapshots."""

    def orphans(self, image: Image) -> list[str]:
        """Archives and blocks that the journal does not name, by path."""
        named = objects_of(image)
        return sorted(path for path in self.data if path not in named)

    def damage(self, image: Image) -> dict[str, str]:
        """Archives and blocks that the journal names and that are not there as it says: path and what is wrong."""
        found: dict[str, str] = {}
        for path, size in sorted(objects_of(image).items()):
            if path not in self.data:
                found[path] = "the object is missing"
            elif size is not None and self.data[path] != size:
                found[path] = f"the object has {self.data[path]} bytes instead of {size}"
        return found


def take(store: Store) -> Inventory:
    """List a store. Raises StoreError."""
    data = {entry.path: entry.bytes for entry in _listed(store, _DATA) if volume.is_data(entry.path)}
    journal = {entry.path: entry.bytes for entry in _listed(store, _JOURNAL)}
    return Inventory(data, journal)


def objects_of(image: Image) -> dict[str, int | None]:
    """The archives and blocks that an image names, with their sizes, if it says them."""
    found: dict[str, int | None] = {path: line.size for path, line in image.objects.items()}
    for content in image.contents.values():
        for part in content.parts:
            found.setdefault(part.object, None)
    return found


def lost_contents(image: Image, inventory: Inventory) -> dict[int, str]:
    """The contents of which a part is not where the journal says, and why."""
    sizes = inventory.data
    found: dict[int, str] = {}
    for content in image.contents.values():
        for part in content.parts:
            if part.offset + part.length > sizes.get(part.object, 0):
                found[content.content] = (f"the object {part.object} is too short" if part.object in sizes
                                          else f"the object {part.object} is missing")
                break
    return found


def files_with(image: Image, contents: Mapping[int, str]) -> list[tuple[str, str]]:
    """The paths of the files that have one of these contents, each with what stands beside the content."""
    return sorted((image.path(node.node), contents[node.content]) for node in image.nodes.values()
                  if node.content is not None and node.content in contents)


def _listed(store: Store, folders: Iterable[str]) -> Iterator[Metadata]:
    for folder in folders:
        try:
            for page in store.list_pages(folder, recursive=True):
                yield from (entry for entry in page if not entry.is_dir)
        except NotFoundError:
            continue
