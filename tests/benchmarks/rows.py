"""The rows about a folder of this machine: what is done, by which servers, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import bulk, listings, small, structure
from tests.benchmarks.data import Scale
from tests.benchmarks.goals import Goal
from tests.benchmarks.servers import DAVFUSION, PEERS
from tests.benchmarks.site import Site, Task

DEFAULT, PROCESS_SAFE = DAVFUSION


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `prepare` checks that a server answers rightly and tells what is to be measured."""

    name: str
    what: str
    prepare: Callable[[Site], Task]
    goals: tuple[Goal, ...] = ()
    in_bytes: bool = False
    """The rate is told in MiB/s, not in operations."""
    writes: bool = False
    """Run by davfusion in both settings of durability; what it wrote is settled afterwards."""
    tls: bool = False
    listing: int = 0
    """Entries of the folder that it lists."""
    group = "folder"

    @property
    def unit(self) -> str:
        """Of the rate."""
        return "MiB/s" if self.in_bytes else "operations/s"

    @property
    def servers(self) -> tuple[str, ...]:
        """Who takes part."""
        return (*(DAVFUSION if self.writes else DAVFUSION[:1]), *PEERS)


def rows(scale: Scale) -> list[Row]:
    """All rows, in the order of the table."""
    return [*_reading(scale), *_listing(scale), *_writing(scale), *_tls(scale)]


def _reading(scale: Scale) -> list[Row]:
    return [
        Row("get-4k-1", "GET 4 KiB, 1 connection", small.get(1), (Goal(1.2, "rclone"),)),
        Row("get-4k-16", "GET 4 KiB, 16 connections", small.get(16), (Goal(1.5, "rclone"), Goal(1.0, "apache"))),
        Row("get-4k-16-idle-200", "the same beside 200 idle connections", small.get_beside_idle(16, 200)),
        Row("head-16", "HEAD, 16 connections", small.head(16)),
        Row("range-64k-16", f"64 KiB ranges of {scale.big_name}, 16 connections", small.ranges(16)),
        Row("get-big", f"GET {scale.big_name}", bulk.get, (Goal(2.0, "rclone"), Goal(0.6, "apache")), in_bytes=True),
    ]


def _listing(scale: Scale) -> list[Row]:
    wanted = (Goal(20.0, "rclone"), Goal(3.0, "apache"))
    alone = [Row(f"propfind-{count}", f"PROPFIND of {count:,} entries", listings.propfind(count, 1),
                 wanted if count >= 1000 else (), listing=count) for count in scale.listings]
    return [*alone, Row("propfind-100-16", "PROPFIND of 100 entries, 16 connections", listings.propfind(100, 16),
                        listing=100)]


def _writing(scale: Scale) -> list[Row]:
    put = (Goal(2.0, "rclone", PROCESS_SAFE), Goal(1.0, "rclone"))
    put_big = tuple(Goal(times, peer, each) for each in DAVFUSION for times, peer in ((1.2, "rclone"), (0.9, "apache")))
    return [
        Row("put-4k-1", "PUT 4 KiB, 1 connection", small.put(1), writes=True),
        Row("put-4k-16", "PUT 4 KiB, 16 connections", small.put(16), put, writes=True),
        Row("put-big", f"PUT {scale.big_name}", bulk.put, put_big, in_bytes=True, writes=True),
        Row("move-file", "MOVE of a file", structure.move_file, writes=True),
        Row("move-folder", "MOVE of a folder with 1,000 files", structure.move_folder, writes=True),
        Row("copy-file", "COPY of a file", structure.copy_file, writes=True),
        Row("copy-folder", "COPY of a folder with 1,000 files", structure.copy_folder, writes=True),
    ]


def _tls(scale: Scale) -> list[Row]:
    return [
        Row("get-4k-16-tls", "GET 4 KiB, 16 connections, TLS", small.get(16), tls=True),
        Row("get-big-tls", f"GET {scale.big_name}, TLS", bulk.get, (Goal(0.8, "rclone"),), in_bytes=True, tls=True),
    ]
