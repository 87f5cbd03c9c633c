"""Opens what the settings name: stores and shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from davfusion import state
from davfusion.cache.contents import ContentFiles
from davfusion.cache.index import Durability, Index
from davfusion.cache.listing import Freshness
from davfusion.cache.recovery import note_clean_stop, recover
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.settings import Config, ConfigError, ShareSettings
from davfusion.store.address import AddressError, open_store
from davfusion.store.errors import StoreError


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
    return CacheSettings(
        durability=Durability(settings.durability),
        limits=SpaceLimits(cache_size=settings.cache_size),
        freshness=Freshness(revalidate_after=settings.revalidate_after),
        upload_delay=settings.upload_delay,
        read_only=settings.read_only)


def open_shares(config: Config, directory: Path) -> list[OpenShare]:
    """All shares of the settings, on a state directory. Raises ConfigError when a store cannot be meant."""
    return [open_share(settings, directory) for settings in config.share]


def open_share(settings: ShareSettings, directory: Path) -> OpenShare:
    """One share. Raises ConfigError."""
    try:
        store = open_store(settings.store, credentials=settings.credentials, environ=os.environ)
    except (AddressError, StoreError) as error:
        raise ConfigError(f"The store {settings.store} cannot be used: {error}.") from error
    folder = state.share_directory(directory, settings.name)
    return OpenShare(settings, Share(folder, store, name=settings.name, settings=cache_settings(settings)))


def bring_in_order(config: Config, directory: Path) -> None:
    """Put the state of every share right before it is used, by the process that holds the state directory."""
    for settings in config.share:
        with _index(settings, directory) as (index, files, folder):
            recover(index, files, folder)


def note_clean_stops(config: Config, directory: Path) -> None:
    """Note that the state of every share was left in order, once nothing uses it any more."""
    for settings in config.share:
        with _index(settings, directory) as (index, _, _):
            note_clean_stop(index)


@contextmanager
def _index(settings: ShareSettings, directory: Path) -> Iterator[tuple[Index, ContentFiles, Path]]:
    durability = Durability(settings.durability)
    folder = state.share_directory(directory, settings.name)
    files = ContentFiles(folder, flush=durability is Durability.POWER_SAFE)
    index = Index(folder / "index.db", durability=durability)
    try:
        yield index, files, folder
    finally:
        index.close()
