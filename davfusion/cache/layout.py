"""How a share lies in its store, as far as the cache is concerned: who lists folders, where contents are read."""

from __future__ import annotations

from typing import Protocol

from davfusion.cache.index import Index
from davfusion.cache.listing import FolderLister, Freshness, Lister
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
