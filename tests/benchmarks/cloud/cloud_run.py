"""Runs the rows about the cloud: each on servers of its own, in turn, and keeps what came out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from tests.benchmarks.cloud.link import LATENCY, far
from tests.benchmarks.cloud.mounts import UPLOAD_DELAY, Mount, RcloneMount, mounted
from tests.benchmarks.cloud.rows import CloudRow
from tests.benchmarks.data import Scale
from tests.benchmarks.findings import Findings
from tests.benchmarks.measure import Series, turned
from tests.benchmarks.servers import WORKERS, MissingError
from tests.benchmarks.site import Task
from tests.benchmarks.usage import cpu_seconds
from tests.benchmarks.wire import AnswerError
from tests.servers import S3Server, rclone_s3

Tell = Callable[[str], None]
CONDITIONS = (
    f"cloud: `rclone serve s3` on a folder; each request takes {LATENCY * 1000:g} ms longer, half of it each way; "
    "each server has a bucket and a way to it of its own",
    f"cloud: davfusion serve s3://... --layout chunked --workers {WORKERS} --upload-delay {UPLOAD_DELAY}, else as it "
    "is (power-safe); it sends conditions with its writes, which this S3 server ignores",
    f"cloud: rclone serve webdav with {' '.join(RcloneMount.OPTIONS)}, else as it is (--transfers 4, "
    "--dir-cache-time 5m)",
    "cloud: cold is a server just started that has nothing but the store: rclone with an empty cache, davfusion after "
    "`davfusion recover` into an empty state directory, the time of which is a row of its own",
    "cloud: renewals of the lease, one in about 20 s, are not counted as store requests",
    "cloud: MOVE and COPY: seconds until the answer, requests until it is in the store; other rows: until all is done",
)


def run(folder: Path, scale: Scale, chosen: Sequence[CloudRow], peers: Collection[str], rounds: int, tell: Tell,
        found: Findings) -> None:
    """All rows, each on servers of its own."""
    with rclone_s3(folder / "s3") as s3:
        with far(s3.port, folder) as link:
            smallest = link.round_trip()
        found.conditions += [*CONDITIONS, f"cloud: the smallest request took {smallest * 1000:.1f} ms, there and back"]
        for row in chosen:
            names = [name for name in row.servers if name == "davfusion" or name in peers]
            with contextlib.ExitStack() as stack:
                mounts = dict(_mounts(stack, s3, folder, row, names, found.missing))
                found.servers.update({name: mount.running.version for name, mount in mounts.items()})
                found.results[row.name] = _measure(row, mounts, scale, min(rounds, row.rounds), tell)


def _mounts(stack: contextlib.ExitStack, s3: S3Server, folder: Path, row: CloudRow, names: Sequence[str],
            missing: dict[str, str]) -> Iterator[tuple[str, Mount]]:
    for name in names:
        try:
            yield name, stack.enter_context(mounted(name, s3, f"{row.name}-{name}", folder))
        except MissingError as error:
            missing[name] = str(error)


def _measure(row: CloudRow, mounts: dict[str, Mount], scale: Scale, rounds: int, tell: Tell) -> dict[str, Series]:
    all_series = {name: Series() for name in mounts}
    tasks = {name: row.work(mount, scale) for name, mount in mounts.items()}
    for number in range(rounds):
        for name in turned(list(mounts), number):
            series = all_series[name]
            if series.errors or (name != "davfusion" and number >= row.peer_rounds):
                continue
            tell(f"round {number + 1} of {rounds}: {row.name}: {name}")
            _measure_once(tasks[name], mounts[name], series)
            tell(f"round {number + 1} of {rounds}: {row.name}: {name}: " + (
                series.errors[-1] if series.errors else f"{series.seconds[-1]:,.4g} s, {series.requests[-1]} requests"))
    return all_series


def _measure_once(tasks: Iterator[Task], mount: Mount, series: Series) -> None:
    try:
        task = next(tasks)
        os.sync()
        before = 0.0 if mount.server is None else cpu_seconds(mount.server.process.pid)
        mount.link.take()
        outcome = task.measure()
        traffic = mount.link.take()
        spent = outcome.cpu if outcome.cpu is not None else cpu_seconds(mount.running.process.pid) - before
        task.check()
    except (AnswerError, OSError) as error:
        series.errors.append(f"{type(error).__name__}: {error}")
        if mount.server is not None:
            series.notes += mount.server.last_failure()
        return
    series.keep(outcome, spent, in_bytes=False)
    series.requests.append(traffic.requests)
    series.reads.append(traffic.reads)
    series.sent.append(traffic.sent)
