"""Runs the benchmarks: `python -m tests.benchmarks --help`.

Ends with 0 when every request of every row got its right answer, with 1 otherwise; missed goals are told, not failed.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click

from tests.benchmarks import data, driver, folder_run, report, wrk
from tests.benchmarks.cloud import cloud_run
from tests.benchmarks.cloud.rows import CloudRow
from tests.benchmarks.cloud.rows import rows as cloud_rows
from tests.benchmarks.findings import Findings
from tests.benchmarks.rows import Row, rows
from tests.benchmarks.servers import PEERS
from tests.benchmarks.site import Drive
from tests.benchmarks.work import Outcome, Work

AnyRow = Row | CloudRow
say = partial(print, file=sys.stderr, flush=True)


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name for name in value.split(",") if name]


@click.command(help="Measure davfusion side by side with rclone, Apache mod_dav and stock WsgiDAV.")
@click.option("--rows", "wanted", callback=_names, metavar="A,B", help="Only these rows, of whatever group.")
@click.option("--cloud", "in_cloud", is_flag=True,
              help="The rows about a chunked share in a cloud, instead of those about a folder of this machine.")
@click.option("--peers", callback=_names, metavar="A,B", help="Only these peers; an empty text for none.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Of each measurement.  [default: 3]")
@click.option("--rounds", type=click.IntRange(1), help="How often everything is measured.  [default: 5]")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the report there.")
@click.option("--quick", is_flag=True, help="One round of 1 s with a smaller large file: does it work?")
@click.option("--bundled-driver", is_flag=True, help="Do without wrk.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Disk to work on; takes about 12 GB.  [default: that for temporary files]")
def main(*, wanted: list[str] | None, in_cloud: bool, peers: list[str] | None, seconds: float | None,
         rounds: int | None, json_file: Path | None, quick: bool, bundled_driver: bool, directory: Path | None) -> None:
    """Measure, print the tables, write the report."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the servers end too
    scale = data.QUICK if quick else data.FULL
    chosen = _chosen([*rows(scale), *cloud_rows(scale)], wanted, "cloud" if in_cloud else "folder")
    drive = _generator(use_wrk=wrk.version() is not None and not bundled_driver)
    seconds, rounds = seconds or (1.0 if quick else 3.0), rounds or (1 if quick else 5)
    with tempfile.TemporaryDirectory(prefix="davfusion-benchmarks-", dir=directory) as folder:
        Path(folder).chmod(0o755)
        found = _run(Path(folder), scale, chosen, PEERS if peers is None else tuple(peers), seconds, rounds, drive)
    whole = {
        "taken": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "load": {"generator": (None if bundled_driver else wrk.version()) or "bundled driver", "seconds": seconds,
                 "rounds": rounds, "big_bytes": scale.big}, **found}
    if json_file is not None:
        json_file.write_text(json.dumps(whole, indent=2) + "\n")
    click.echo(report.tables(whole))
    sys.exit(any(series["errors"] for row in whole["rows"] for series in row["servers"].values()))


def _chosen(all_rows: list[AnyRow], wanted: list[str] | None, group: str) -> list[AnyRow]:
    unknown = set(wanted or ()) - {row.name for row in all_rows}
    if unknown:
        raise click.UsageError(f"No such row: {', '.join(sorted(unknown))}. There are: "
                               + ", ".join(row.name for row in all_rows))
    return [row for row in all_rows if (row.group == group if wanted is None else row.name in wanted)]


def _generator(*, use_wrk: bool) -> Drive:
    def drive(url: str, work: Work, seconds: float) -> Outcome:
        return wrk.drive(url, work, seconds) if use_wrk else driver.drive(url, work, seconds)
    return drive


def _run(folder: Path, scale: data.Scale, chosen: list[AnyRow], peers: tuple[str, ...], seconds: float, rounds: int,
         drive: Drive) -> dict[str, Any]:
    """Both groups, as far as they are chosen."""
    found = Findings()
    here = [row for row in chosen if isinstance(row, Row)]
    in_cloud = [row for row in chosen if isinstance(row, CloudRow)]
    if here:
        folder_run.run(folder, scale, here, peers, seconds, rounds, drive, say, found)
    if in_cloud:
        cloud_run.run(folder, scale, in_cloud, peers, rounds, say, found)
    return {"servers": found.servers, "missing": found.missing, "conditions": found.conditions,
            "rows": report.as_values(chosen, found.results), "memory": found.memory}


if __name__ == "__main__":
    main()
