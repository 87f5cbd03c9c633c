"""The rows about the cloud: what is done, by whom, how often, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.benchmarks.cloud import reads, recovery, renames, saves
from tests.benchmarks.cloud.mounts import Mount
from tests.benchmarks.data import Scale
from tests.benchmarks.goals import Goal, Measure
from tests.benchmarks.site import Task

BESIDE_RCLONE = ("davfusion", "rclone")
ALONE = ("davfusion",)


@dataclass(frozen=True, slots=True)
class CloudRow:
    """One line of the table. `work` fills the store, then has one task after the other, each ready to be measured."""

    name: str
    what: str
    work: Callable[[Mount, Scale], Iterator[Task]]
    goals: tuple[Goal, ...]
    servers: tuple[str, ...] = ALONE
    rounds: int = 3
    """At most."""
    peer_rounds: int = 3
    """At most, of servers that are not davfusion: some of this takes them minutes."""
    group = "cloud"
    unit = "operations/s"


def rows(scale: Scale) -> list[CloudRow]:
    """All rows, in the order of the table."""
    folders, each = scale.saved
    saved, recovered = folders * each, scale.recovered[0] * scale.recovered[1]
    few = Goal(2, of=Measure.REQUESTS)
    soon = Goal(0.1, of=Measure.SECONDS)
    return [
        CloudRow(f"cloud-save-{saved}", f"{saved:,} new files of 4 KiB in {folders} folders", saves.save,
                 (Goal(20, "rclone"), Goal(0.01, "rclone", of=Measure.REQUESTS)), BESIDE_RCLONE,
                 peer_rounds=1),
        CloudRow(f"cloud-read-{scale.cold}", f"{scale.cold} files of 4 KiB read cold, 1 connection", reads.read,
                 (Goal(20, "rclone"),), BESIDE_RCLONE),
        CloudRow(f"cloud-list-{scale.cold}", f"PROPFIND of a cold folder of {scale.cold}", reads.listing,
                 (Goal(50, "rclone"), Goal(0, of=Measure.READS)), BESIDE_RCLONE),
        CloudRow(f"cloud-move-{scale.moved}", f"MOVE of a folder with {scale.moved:,} files", renames.move,
                 (soon, few), rounds=5),
        CloudRow(f"cloud-copy-{scale.moved}", f"COPY of a folder with {scale.moved:,} files", renames.copy,
                 (soon, few), rounds=5),
        CloudRow(f"cloud-change-{_size(scale.changed, '')}",
                 f"1 MiB changed inside {_size(scale.changed, ' ')}, whole file PUT again", saves.change,
                 (Goal(scale.changed // 50, of=Measure.SENT),)),
        CloudRow(f"cloud-recover-{recovered}", f"davfusion recover of {recovered:,} files", recovery.recover,
                 (Goal(60, of=Measure.SECONDS),)),
    ]


def _size(size: int, between: str) -> str:
    name = f"{size >> 30}{between}GiB" if size >= 1 << 30 else f"{size >> 20}{between}MiB"
    return name if between else name.lower().replace("ib", "")
