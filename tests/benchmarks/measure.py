"""Runs rows on servers in turn, round by round, and keeps what came out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.rows import Row
from tests.benchmarks.servers import Server
from tests.benchmarks.site import Site
from tests.benchmarks.usage import cpu_seconds
from tests.benchmarks.wire import AnswerError

Sites = Mapping[tuple[str, bool], Site]
"""By the name of the server and whether it speaks TLS."""


@dataclass(slots=True)
class Series:
    """What one server did in one row: one value per round."""

    rates: list[float] = field(default_factory=list)
    """Operations or MiB per second; a round with an error has none and is the last."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of all processes per operation, what comes of it in the background included."""
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    """Milliseconds, as `p50`."""
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Results = dict[str, dict[str, Series]]
"""By row, then by server."""


def measure(rows: Sequence[Row], sites: Sites, rounds: int, tell: Callable[[str], None]) -> Results:
    """All rows on all servers, `rounds` times; who begins changes from round to round."""
    results: Results = {row.name: {name: Series() for name in row.servers if (name, row.tls) in sites} for row in rows}
    for number in range(rounds):
        for row in rows:
            for name in _turned(list(results[row.name]), number):
                series = results[row.name][name]
                if series.errors:
                    continue
                _measure_once(row, sites[name, row.tls], series)
                tell(f"round {number + 1} of {rounds}: {row.name}: {name}: "
                     + (series.errors[-1] if series.errors else f"{series.rates[-1]:,.4g}"))
    return results


def _measure_once(row: Row, site: Site, series: Series) -> None:
    try:
        task = row.prepare(site)
        if row.writes:
            site.server.settle()
            os.sync()
        before = cpu_seconds(site.server.process.pid)
        outcome = task.measure()
        if row.writes:
            site.server.settle()
        spent = cpu_seconds(site.server.process.pid) - before
        task.check()
    except (AnswerError, OSError) as error:
        series.errors.append(f"{type(error).__name__}: {error}")
        series.notes += site.server.last_failure()
        return
    series.errors += outcome.errors
    series.notes += [note for note in outcome.notes if note not in series.notes]
    if outcome.errors:
        series.notes += site.server.last_failure()
        return
    if not outcome.operations:
        series.errors.append("nothing was done in the time")
        return
    amount = outcome.bytes / 2**20 if row.in_bytes else outcome.operations
    series.rates.append(amount / outcome.seconds)
    series.cpu.append(spent / outcome.operations)
    if outcome.p50 is not None and outcome.p99 is not None:
        series.p50.append(outcome.p50)
        series.p99.append(outcome.p99)


def _turned(names: list[str], by: int) -> Iterable[str]:
    at = by % len(names) if names else 0
    return names[at:] + names[:at]


def wait_until_idle(server: Server, timeout: float = 30.0) -> None:
    """Return when the processes of the server use (nearly) no time any more. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    last = cpu_seconds(server.process.pid)
    while time.monotonic() < deadline:
        time.sleep(0.25)
        now = cpu_seconds(server.process.pid)
        if now - last <= 0.01:
            return
        last = now
    raise TimeoutError(f"{server.name} does not come to rest")
