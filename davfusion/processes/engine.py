"""The engine process: carries all shares to their stores. Started as `python -m davfusion.processes.engine`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol

from davfusion import logs
from davfusion.cache.share import Share
from davfusion.processes.child import Supervised, unless_unusable
from davfusion.processes.handover import Handover
from davfusion.processes.opening import OpenShare, open_shares
from davfusion.settings import ShareSettings
from davfusion.sync.engine import Engine

if TYPE_CHECKING:
    from davfusion.sync.chunked.engine import ChunkedEngine


class Runs(Protocol):
    """What carries a share."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""


def make_engines(shares: Sequence[OpenShare]) -> list[Runs]:
    """One engine per share; each heeds requests to hurry from now on."""
    return [chunked_engine(opened.share, opened.settings) if opened.settings.layout == "chunked"
            else Engine(opened.share) for opened in shares]


def chunked_engine(share: Share, settings: ShareSettings) -> ChunkedEngine:
    """The engine of a chunked share."""
    from davfusion.sync.chunked.collector import Thrift  # plain shares need not load any of it
    from davfusion.sync.chunked.engine import ChunkedEngine
    from davfusion.sync.chunked.factory import Packing

    packing = Packing(pack_below=settings.pack_below, archive_size=settings.archive_size,
                      block_size=settings.block_size, compress=settings.compress)
    thrift = Thrift(grace=settings.keep_deleted, archive_size=settings.archive_size, small=settings.archive_size // 4)
    return ChunkedEngine(share, packing, thrift=thrift)


def carry(engines: Sequence[Runs], stop: threading.Event) -> None:
    """Run all engines until `stop` is set. When one fails the others are stopped and its error is raised."""
    if len(engines) == 1:
        engines[0].run(stop)
        return
    with ThreadPoolExecutor(len(engines), thread_name_prefix="engine") as pool:
        running = [pool.submit(engine.run, stop) for engine in engines]
        wait(running, return_when=FIRST_COMPLETED)
        stop.set()
    for future in running:
        future.result()


def main() -> int:
    """Carry until SIGTERM; the exit code."""
    supervised = Supervised()
    handover = Handover.from_line(supervised.handover)
    logs.set_up(verbose=handover.verbose)
    shares = open_shares(handover.config, handover.state)
    engines = make_engines(shares)
    supervised.report_ready()
    carry(engines, supervised.stop)
    for opened in shares:
        opened.close()
    return 0


if __name__ == "__main__":
    sys.exit(unless_unusable(main))
