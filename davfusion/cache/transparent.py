"""What a store that works in the background tells about it: what waits, how fast it goes, what failed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from davfusion.cache.index import Index, Record
from davfusion.store.interface import Store

MB = 1_000_000
ENGINE_STATISTICS = "engine_statistics"
"""The fact of the index under which the engine leaves what only it knows: JSON with `heartbeat` (seconds since the
epoch), `upload_rate` (bytes per second) and `errors`."""
WAITING_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class ExceptionStats:
    """One kind of error of the engine."""

    name: str
    count: int
    last: float
    """Seconds since the epoch."""
    message: str
    """What it said last."""


class TransparentStore(Store):
    """A store with statistics about its work in the background; MB is 10^6 bytes. Sums are of all processes, since
    the state directory was made."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def get_dirty_files(self) -> list[str]:
        """Paths that differ from what the store inside holds, longest waiting first; at most 10,000."""
        view = self._index.view()
        found = []
        for record in view.nodes.dirty(WAITING_LIMIT):
            path = view.nodes.path(record.id) or record.synced_path
            if path is not None and not _is_inner(record):
                found.append(path)
        return found

    def get_uploaded(self) -> float:
        """MB written to the store inside."""
        return self._counter("uploaded_bytes") / MB

    def get_downloaded(self) -> float:
        """MB read from the store inside."""
        return self._counter("downloaded_bytes") / MB

    def get_upload_rate(self) -> float:
        """MB/s while something is being uploaded, of late."""
        return float(self._engine().get("upload_rate", 0.0)) / MB

    def get_download_rate(self) -> float:
        """MB/s while something is being downloaded, of late; in all processes, by the time that it took."""
        seconds = self._counter("downloading_milliseconds") / 1000
        return self.get_downloaded() / seconds if seconds else 0.0

    def get_cache_hits(self) -> int:
        """Files opened that were wholly in the cache."""
        return self._counter("cache_hits")

    def get_cache_misses(self) -> int:
        """Files opened that were not."""
        return self._counter("cache_misses")

    def get_exception_stats(self) -> dict[str, ExceptionStats]:
        """Errors of the work in the background by kind."""
        return {error["name"]: ExceptionStats(**error) for error in self._engine().get("errors", [])}

    def get_status_information(self) -> str:
        """A line for people."""
        waiting, parked = self._index.view().nodes.count_dirty()
        return (f"{waiting} to be synchronised, {parked} parked, {self.get_uploaded():.1f} MB up, "
                f"{self.get_downloaded():.1f} MB down, {len(self.get_exception_stats())} kinds of errors")

    def _counter(self, name: str) -> int:
        return self._index.view().operations.counters().get(name, 0)

    def _engine(self) -> dict[str, Any]:
        text = self._index.view().operations.meta(ENGINE_STATISTICS)
        found: dict[str, Any] = json.loads(text) if text else {}
        return found


def _is_inner(record: Record) -> bool:
    """A node of a folder that was deleted before anything of it reached the store: nothing has to travel."""
    return not record.is_local and not record.is_synced
