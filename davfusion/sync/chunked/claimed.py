"""A share in its store, claimed for one engine, with those who write to it."""

from __future__ import annotations

import platform
import threading
from pathlib import Path

from davfusion.cache.share import Share
from davfusion.sync.chunked.carriage import Carriage
from davfusion.sync.chunked.collector import Collector, Thrift
from davfusion.sync.chunked.scribe import Scribe
from davfusion.sync.chunked.snapshots import Snapshots
from davfusion.sync.chunked.tenure import Tenure
from davfusion.sync.claims import claim_chunked


class Claimed:
    """Makes sure that the store holds this share, and puts its writers together. Raises LayoutError, StoreError.

    `begin` is to be called before anything is written.
    """

    def __init__(self, share: Share, carriage: Carriage, thrift: Thrift, workshop: Path, lock: threading.Lock) -> None:
        """`lock` is held while an entry of the journal is made, written and recorded."""
        host = platform.node()
        marker = claim_chunked(share.store, share.index)
        self.tenure = Tenure(share.store, share.index, host=host)
        self.scribe = Scribe(share.index, share.store, share=marker.share, host=host, workshop=workshop)
        self.snapshots = Snapshots(
            share.index, share.store, share=marker.share, host=host, workshop=workshop, lock=lock)
        self.collector = Collector(share, carriage, thrift, tenure=self.tenure, lock=lock)

    def begin(self) -> None:
        """Take the lease and find out what was written last. Raises ChunksError, StoreError."""
        try:
            self.tenure.begin()
            self.scribe.catch_up()
        except BaseException:
            self.tenure.end()
            raise
