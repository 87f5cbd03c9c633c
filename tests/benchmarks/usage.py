"""What the processes of a server use, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from tests.clients.processes import descendants, resident


def cpu_seconds(root: int) -> float:
    """Of the process and all below it, those that have ended included."""
    return sum(_cpu_seconds(pid) for pid in descendants(root))


def resident_bytes(root: int) -> int:
    """Of all processes; what they share is counted for each."""
    return sum(resident(pid) for pid in descendants(root))


def proportional_bytes(root: int) -> int:
    """Of all processes; what they share is counted once."""
    total = 0
    for pid in descendants(root):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
