"""All that a run of the benchmarks found out."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.benchmarks.measure import Results


@dataclass(slots=True)
class Findings:
    """Filled by the runs of both groups of rows."""

    servers: dict[str, str] = field(default_factory=dict)
    """Versions by name."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why servers did not take part."""
    conditions: list[str] = field(default_factory=list)
    """Sentences that people must know who read the tables."""
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    """Bytes by server and kind."""
    results: Results = field(default_factory=dict)
