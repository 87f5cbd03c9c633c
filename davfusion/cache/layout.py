"""How a share lies in its store, as far as the cache is concerned: who lists folders, where contents are read."""

from __future__ import annotations

import sys
from typing import Protocol

from davfusion.cache.index import Index, Record
from davfusion.cache.listing import FolderLister, Freshness, Lister
from davfusion.cache.parts import PartSource
from davfusion.cache.source import ObjectSource, Source
from davfusion.store.interface import Store


class Layout(Protocol):
    """What differs between layouts."""

    keeps_attributes: bool
    """Times and dead properties travel to the store."""

    def lister(self, index: Index, store: Store, freshness: Freshness) -> FolderLister:
        """Who lists the folders of a share."""

    def source(self, index: Index, store: Store) -> Source:
        """Where contents are read that are not here."""

    def largest_file(self, store: Store) -> int:
        """Bytes of the largest file."""


class PlainLayout:
    """Each file is an object under its own path."""

    keeps_attributes = False

    def lister(self, index: Index, store: Store, freshness: Freshness) -> FolderLister:
        """Folders are listed in the store: others may change them there."""
        return Lister(index, store, freshness)

    def source(self, index: Index, store: Store) -> Source:
        """Each content is an object."""
        return ObjectSource(index, store)

    def largest_file(self, store: Store) -> int:
        """As the store says."""
        return store.get_max_filesize()


class ChunkedLayout:
    """Contents lie in archives and blocks; the index knows the whole tree, since nobody else writes to the store."""

    keeps_attributes = True

    def lister(self, index: Index, store: Store, freshness: Freshness) -> FolderLister:
        """Nothing is ever listed."""
        del index, store, freshness
        return KnownFolders()

    def source(self, index: Index, store: Store) -> Source:
        """Contents are read by their parts."""
        return PartSource(index, store)

    def largest_file(self, store: Store) -> int:
        """Blocks have no need to end."""
        del store
        return sys.maxsize


class KnownFolders:
    """All folders are known."""

    def ensure(self, folder: Record) -> bool:
        """It is known already."""
        del folder
        return False

    def refresh(self, folder: int) -> None:
        """It is known already."""
        del folder

    def close(self) -> None:
        """There is nothing to wait for."""
