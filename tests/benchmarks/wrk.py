"""wrk as load generator."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.work import Outcome, Work

_SCRIPT = Path(__file__).with_name("load.lua")
_MOST_THREADS = 2
TIMEOUT = 60
"""Seconds that one request may take."""


def version() -> str | None:
    """What wrk calls itself; None where it is not installed."""
    if shutil.which("wrk") is None:
        return None
    told = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"wrk \S*?([0-9][0-9.]*)", told.stdout + told.stderr)
    return f"wrk {match[1]}" if match else "wrk"


def can(work: Work) -> bool:
    """wrk waits for the body that the Content-Length of an answer to HEAD names."""
    return all(ask.method != "HEAD" for ask in work.ring)


def drive(url: str, work: Work, seconds: float) -> Outcome:
    """Go round the ring for `seconds`, rounded up to whole ones, over all connections."""
    threads = min(_MOST_THREADS, work.connections)
    host = urlsplit(url).netloc
    with tempfile.NamedTemporaryFile(suffix=".requests") as requests:
        for ask in work.ring:
            data = ask.wire(host)
            requests.write(b"%d\n" % len(data) + data)
        requests.flush()
        command = ["wrk", f"-t{threads}", f"-c{work.connections}", f"-d{math.ceil(seconds)}s", f"--timeout={TIMEOUT}s",
                   f"--script={_SCRIPT}", url, "--", requests.name, ",".join(map(str, sorted(work.statuses))),
                   str(-1 if work.length is None else work.length), str(threads)]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 2 * TIMEOUT)
    line = re.search(r"^OUTCOME (.*)$", told.stdout, re.MULTILINE)
    if told.returncode != 0 or line is None:
        return Outcome(seconds=seconds, errors=[f"wrk failed: {told.stderr.strip() or told.stdout.strip()}"])
    return _outcome(json.loads(line[1]), work)


def _outcome(told: dict[str, float], work: Work) -> Outcome:
    outcome = Outcome(
        operations=int(told["operations"]), seconds=told["microseconds"] / 1e6, p50=told["p50"], p99=told["p99"],
        bytes=int(told["bytes"] + told["operations"] * sum(len(ask.body) for ask in work.ring) / len(work.ring)))
    if told["wrong"]:
        outcome.errors.append(f"{told['wrong']:.0f} wrong answers, such as {told['example']}")
    if told["broken"]:
        outcome.errors.append(f"{told['broken']:.0f} requests without an answer")
    return outcome
