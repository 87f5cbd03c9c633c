"""Opens what the settings name: stores and shares."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from davfusion import state
from davfusion.cache.contents import ContentFiles
from davfusion.cache.index import Durability, Index
from davfusion.cache.layout import Layout, PlainLayout
from davfusion.cache.listing import Freshness
from davfusion.cache.recovery import note_clean_stop, recover
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.settings import Config, ConfigError, ShareSettings
from davfusion.store.address import AddressError, open_store
from davfusion.store.errors import StoreError
from davfusion.store.interface import Store


@dataclass(frozen=True, slots=True)
class OpenShare:
    """A share with the settings by which it was opened."""

    settings: ShareSettings
    share: Share

    def close(self) -> None:
        """Close the share, then its store."""
        self.share.close()
        self.share.store.close()


def cache_settings(settings: ShareSettings) -> CacheSettings:
    """What the cache has to know of the settings of a share."""
    chunked = settings.layout == "chunked"
    return CacheSettings(
        durability=Durability(settings.durability),
        limits=SpaceLimits(cache_size=settings.cache_size),
        freshness=Freshness(revalidate_after=math.inf if chunked else settings.revalidate_after),
        upload_delay=settings.upload_delay,
        read_only=settings.read_only)


def open_shares(config: Config, directory: Path) -> list[OpenShare]:
    """All shares of the settings, on a state directory. Raises ConfigError when a store cannot be meant."""
    return [open_share(settings, directory) for settings in config.share]


def open_share(settings: ShareSettings, directory: Path) -> OpenShare:
    """One share. Raises ConfigError."""
    store = store_of(settings)
    folder = state.share_directory(directory, settings.name)
    return OpenShare(settings, Share(
        folder, store, name=settings.name, settings=cache_settings(settings), layout=layout_of(settings)))


def store_of(settings: ShareSettings) -> Store:
    """The store of a share. Raises ConfigError."""
    try:
        return open_store(settings.store, credentials=settings.credentials, environ=os.environ)
    except (AddressError, StoreError) as error:
        raise ConfigError(f"The store {settings.store} cannot be used: {error}.") from error


def layout_of(settings: ShareSettings) -> Layout:
    """How a share lies in its store."""
    if settings.layout == "plain":
        return PlainLayout()
    from davfusion.cache.parts import ChunkedLayout  # its modules take memory that others need not spend
    return ChunkedLayout()


def bring_in_order(config: Config, directory: Path) -> None:
    """Put the state of every share right before it is used, by the process that holds the state directory."""
    for settings in config.share:
        with opened_index(settings, directory) as (index, files, folder):
            recover(index, files, folder)


def note_clean_stops(config: Config, directory: Path) -> None:
    """Note that the state of every share was left in order, once nothing uses it any more."""
    for settings in config.share:
        with opened_index(settings, directory) as (index, _, _):
            note_clean_stop(index)


@contextmanager
def opened_index(settings: ShareSettings, directory: Path) -> Iterator[tuple[Index, ContentFiles, Path]]:
    """The index and the cache files of a share without the rest of it, and where they are."""
    durability = Durability(settings.durability)
    folder = state.share_directory(directory, settings.name)
    files = ContentFiles(folder, flush=durability is Durability.POWER_SAFE)
    index = Index(folder / "index.db", durability=durability)
    try:
        yield index, files, folder
    finally:
        index.close()
