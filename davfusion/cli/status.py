"""`davfusion status`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from davfusion import state
from davfusion.cache.index import Index, Record, View
from davfusion.cache.transparent import ENGINE_STATISTICS as STATISTICS
from davfusion.cli import states
from davfusion.settings import ShareSettings

IN_STORE, WAITING, PARKED = 0, 3, 4
"""Exit codes: all is in the store, something waits, something is parked."""
_SHOWN = 20
_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """One change that is not in the store yet."""

    path: str
    change: str
    """upload, move, delete or make folder."""
    bytes: int
    attempts: int
    reason: str | None
    """Why the last attempt failed."""
    due_in: float
    """Seconds until it may travel."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Everything that waits, and the first of it."""

    files: int
    bytes: int
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class ShareStatus:
    """One share; sizes in bytes."""

    name: str
    store: str
    waiting: Waiting
    parked_files: int
    parked: list[Change]
    cache_used: int
    cache_size: int
    counters: dict[str, int]
    statistics: dict[str, Any] | None
    """What the engine told last about its work."""


@click.command("status")
@states.state_option
@click.option("--json", "as_json", is_flag=True, help="Print it for programs.")
def command(*, state_directory: Path | None, as_json: bool) -> int:
    """Show what waits, what fails and why, and the use of the cache.

    Exit code 0: everything is in the store. 3: something waits. 4: something is parked.
    """
    directory, config = states.find(state_directory)
    with states.open_indexes(directory, config) as indexes:
        shares = [share_status(settings, index) for settings, index in indexes]
    running = state.is_locked(directory)
    if as_json:
        document = {"state": str(directory), "running": running, "shares": [asdict(share) for share in shares]}
        json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
        click.echo()
    else:
        _print(directory, running, shares)
    return exit_code(sum(share.waiting.files for share in shares), sum(share.parked_files for share in shares))


def exit_code(waiting: int, parked: int) -> int:
    """What `status` and `sync` tell scripts."""
    if parked:
        return PARKED
    return WAITING if waiting else IN_STORE


def share_status(settings: ShareSettings, index: Index) -> ShareStatus:
    """The state of a share as its index tells it now."""
    view = index.view()
    waiting, parked = view.nodes.count_dirty()
    changes = [(record, _change(view, record)) for record in view.nodes.dirty(_LISTED)]
    statistics = view.operations.meta(STATISTICS)
    return ShareStatus(
        name=settings.name, store=settings.store,
        waiting=Waiting(waiting, view.nodes.dirty_bytes(),
                        [change for record, change in changes if not record.parked]),
        parked_files=parked, parked=[change for record, change in changes if record.parked],
        cache_used=view.operations.cached_bytes() + index.size() + index.log_size(), cache_size=settings.cache_size,
        counters=view.operations.counters(), statistics=None if statistics is None else json.loads(statistics))


def _change(view: View, record: Record) -> Change:
    path = view.nodes.path(record.id)
    return Change(
        path=path or record.synced_path or record.local_name or "/", change=_kind(record, path), bytes=record.size,
        attempts=record.attempts, reason=record.problem, due_in=round(max(0.0, record.due - time.time()), 1))


def _kind(record: Record, path: str | None) -> str:
    if path is None:
        return "delete"
    if record.is_folder:
        return "move" if record.is_synced else "make folder"
    return "upload" if record.content != record.synced_content else "move"


def _print(directory: Path, running: bool, shares: list[ShareStatus]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(f"State {directory}: {'a server is running' if running else 'no server is running'}",
                  markup=False, soft_wrap=True)
    for share in shares:
        console.print(_summary(share), markup=False, soft_wrap=True)
        rows = [*share.parked, *share.waiting.changes]
        if not rows:
            continue
        table = Table(box=None, pad_edge=False)
        for heading in ("", "change", "path", "size", "why"):
            table.add_column(heading, overflow="fold")
        for number, change in enumerate(rows[:_SHOWN]):
            mark = "parked" if number < len(share.parked) else "waits"
            table.add_row(*(Text(cell) for cell in (
                mark, change.change, change.path, size_text(change.bytes), change.reason or "")))
        console.print(table)
        if len(rows) > _SHOWN:
            console.print(f"... and {share.parked_files + share.waiting.files - _SHOWN} more; see --json")


def _summary(share: ShareStatus) -> str:
    parts = [f"{share.name}: {share.store}"]
    if not share.waiting.files and not share.parked_files:
        parts.append("everything is in the store")
    if share.waiting.files:
        parts.append(f"{share.waiting.files} changes wait ({size_text(share.waiting.bytes)})")
    if share.parked_files:
        parts.append(f"{share.parked_files} are parked and need you")
    hits, misses = share.counters.get("cache_hits", 0), share.counters.get("cache_misses", 0)
    parts.append(f"cache {size_text(share.cache_used)} of {size_text(share.cache_size)}"
                 + (f", {100 * hits // (hits + misses)} % hits" if hits + misses else ""))
    return "; ".join(parts)


def size_text(size: int) -> str:
    """Bytes for people, in powers of ten."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
