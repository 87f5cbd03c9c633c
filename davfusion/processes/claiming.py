"""Makes sure, before anything is served, that each share may be served from here and in its layout."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

from davfusion.cache.index import Index
from davfusion.chunks.errors import ChunksError
from davfusion.processes.opening import opened_index, store_of
from davfusion.settings import Config, ConfigError, ShareSettings
from davfusion.store.errors import StoreError
from davfusion.store.interface import Store
from davfusion.sync.claims import LayoutError, claim_chunked, claim_plain

log = logging.getLogger(__name__)


def claim_shares(config: Config, directory: Path) -> None:
    """Raise ConfigError for a share that lies in its store in another layout, or that another davfusion writes to.

    A store that cannot be asked now is asked by the engine, before it writes anything.
    """
    for settings in config.share:
        if settings.store.startswith("memory:"):
            continue  # there is nothing in it yet
        with opened_index(settings, directory) as (index, _, _):
            store = store_of(settings)
            try:
                _claim(settings, store, index)
            except (ChunksError, LayoutError) as error:
                raise ConfigError(f"The share {settings.name} at {settings.store} cannot be served. {error}") from error
            except StoreError as error:
                log.warning("layout not checked yet", extra={"share": settings.name, "problem": str(error)})
            finally:
                store.close()


def _claim(settings: ShareSettings, store: Store, index: Index) -> None:
    if settings.layout == "plain":
        claim_plain(store, index)
        return
    claim_chunked(store, index)
    from davfusion.sync.chunked.tenure import lease_of  # not needed for plain shares
    lease_of(store, index, host=platform.node()).acquire()
