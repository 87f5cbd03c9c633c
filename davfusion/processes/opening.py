"""Opens what the settings name: stores, shares, the application."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from davfusion import state
from davfusion.cache.index import Durability
from davfusion.cache.listing import Freshness
from davfusion.cache.share import CacheSettings, Share
from davfusion.cache.space import SpaceLimits
from davfusion.config import Config, ConfigError, ShareSettings
from davfusion.dav.app import DavFusionApp
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
        store = open_store(settings.store, credentials=settings.plain_credentials(), environ=os.environ)
    except (AddressError, StoreError) as error:
        raise ConfigError(f"The store {settings.store} cannot be used: {error}.") from error
    folder = state.share_directory(directory, settings.name)
    return OpenShare(settings, Share(folder, store, name=settings.name, settings=cache_settings(settings)))


def open_application(config: Config, shares: Sequence[OpenShare]) -> DavFusionApp:
    """The WSGI application that serves the shares where the settings want them."""
    return DavFusionApp({
        "/" if config.at_root else f"/{opened.settings.name}": opened.share for opened in shares})
