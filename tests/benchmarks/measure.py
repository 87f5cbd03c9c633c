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
from tests.benchmarks.work import Outcome

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
    seconds: list[float] = field(default_factory=list)
    """That all operations of a round took together."""
    requests: list[int] = field(default_factory=list)
    """To the store, where those are counted; so are the following."""
    reads: list[int] = field(default_factory=list)
    """Of the bytes of an object in the store."""
    sent: list[int] = field(default_factory=list)
    """Bytes, to the store."""
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def keep(self, outcome: Outcome, cpu: float, *, in_bytes: bool) -> None:
        """Add the outcome of a round, in which the server used so many seconds of CPU."""
        self.errors += outcome.errors
        self.notes += [note for note in outcome.notes if note not in self.notes]
        if outcome.errors:
            return
        if not outcome.operations:
            self.errors.append("nothing was done in the time")
            return
        amount = outcome.bytes / 2**20 if in_bytes else outcome.operations
        self.rates.append(amount / outcome.seconds)
        self.seconds.append(outcome.seconds)
        self.cpu.append(cpu / outcome.operations)
        if outcome.p50 is not None and outcome.p99 is not None:
            self.p50.append(outcome.p50)
            self.p99.append(outcome.p99)


Results = dict[str, dict[str, Series]]
"""By row, then by server."""


def measure(rows: Sequence[Row], sites: Sites, rounds: int, tell: Callable[[str], None]) -> Results:
    """All rows on all servers, `rounds` times; who begins changes from round to round."""
    results: Results = {row.name: {name: Series() for name in row.servers if (name, row.tls) in sites} for row in rows}
    for number in range(rounds):
        for row in rows:
            for name in turned(list(results[row.name]), number):
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
    series.keep(outcome, spent, in_bytes=row.in_bytes)
    if outcome.errors:
        series.notes += site.server.last_failure()


def turned(names: list[str], by: int) -> Iterable[str]:
    """The same names, of which another one is the first each time."""
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
