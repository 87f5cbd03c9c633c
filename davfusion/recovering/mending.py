"""Finds contents whose place is lost in other archives: each archive says itself what lies in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from davfusion.chunks.errors import DamagedError
from davfusion.chunks.image import Image
from davfusion.chunks.lines import ContentLine
from davfusion.chunks.manifest import Member, read_manifest
from davfusion.chunks.volume import parse_archive
from davfusion.recovering.inventory import Inventory, lost_contents
from davfusion.store.errors import NotFoundError
from davfusion.store.interface import Store

log = logging.getLogger("davfusion.recovering")


def mend(image: Image, inventory: Inventory, store: Store) -> set[int]:
    """Give contents that lie nowhere, or in damaged objects, a place in an archive that has them too; which ones.

    To be called before the image is settled. Costs nothing where nothing is wrong. Raises StoreError, FormatError.
    """
    wanted = _homeless(image) | lost_contents(image, inventory).keys()
    found: set[int] = set()
    if not wanted:
        return found
    for member in _members(image, inventory, store):
        if member.content in wanted and _is_same(image.contents.get(member.content), member):
            size = member.part.size
            image.contents[member.content] = ContentLine(
                member.content, size, member.sha256, (member.part,) if size else ())
            wanted.discard(member.content)
            found.add(member.content)
    return found


def _homeless(image: Image) -> set[int]:
    return {line.content for line in image.nodes.values()
            if line.content is not None and line.content not in image.contents}


def _members(image: Image, inventory: Inventory, store: Store) -> Iterator[Member]:
    damaged = inventory.damage(image)
    for path in sorted(inventory.data):
        if parse_archive(path) is None or path in damaged:
            continue
        try:
            yield from read_manifest(store, path).members
        except (DamagedError, NotFoundError) as error:
            log.warning("archive passed over", extra={"path": path, "reason": str(error)})


def _is_same(known: ContentLine | None, member: Member) -> bool:
    """Whether the member is the content that the journal means; ids are given out once, so doubt is about damage."""
    if known is None:
        return True
    return known.size == member.part.size and known.sha256 in (None, member.sha256)
