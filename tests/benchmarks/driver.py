"""The bundled load generator: processes that each keep some connections busy. For where wrk is missing or cannot.

Started as `python -m tests.benchmarks.driver`; the work comes on standard input as a pickle, the outcome goes out
as one.
"""

from __future__ import annotations

import pickle
import selectors
import statistics
import subprocess
import sys
import time

from tests.benchmarks.wire import AnswerError, Client
from tests.benchmarks.work import Ask, Outcome, Work

MOST_PROCESSES = 2
_TIMES_KEPT = 200_000


def drive(url: str, work: Work, seconds: float) -> Outcome:
    """Go round the ring for `seconds` over all connections."""
    count = min(MOST_PROCESSES, work.connections)
    processes = [subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                 for _ in range(count)]
    start = time.monotonic() + 0.3
    try:
        for number, process in enumerate(processes):
            assert process.stdin is not None
            connections = work.connections // count + (number < work.connections % count)
            pickle.dump((url, work.ring[number::count] or work.ring, work, connections, start, seconds), process.stdin)
            process.stdin.close()
        return _together([pickle.load(process.stdout) for process in processes if process.stdout is not None])
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _together(parts: list[tuple[Outcome, list[float]]]) -> Outcome:
    whole = Outcome(seconds=max(part.seconds for part, _ in parts))
    for part, _ in parts:
        whole.operations += part.operations
        whole.bytes += part.bytes
        whole.errors += part.errors
    times = sorted(spent for _, each in parts for spent in each)
    if len(times) > 1:
        whole.p50 = statistics.median(times) * 1000
        whole.p99 = times[int(len(times) * 0.99)] * 1000
    return whole


class _Turn:
    """A connection with the request that it waits for."""

    def __init__(self, url: str) -> None:
        self.client = Client(url)
        self.ask: Ask | None = None
        self.since = 0.0


def _run(url: str, ring: tuple[Ask, ...], work: Work, connections: int, start: float,
         seconds: float) -> tuple[Outcome, list[float]]:
    outcome, times = Outcome(), []
    turns = [_Turn(url) for _ in range(connections)]
    wires = [(ask, ask.wire(turns[0].client.host)) for ask in ring]
    time.sleep(max(0.0, start - time.monotonic()))
    began = time.monotonic()
    end, sent = began + seconds, 0
    with selectors.DefaultSelector() as selector:
        for turn in turns:
            sent = _send(turn, wires, sent)
            selector.register(turn.client.sock, selectors.EVENT_READ, turn)
        waiting = len(turns)
        while waiting:
            ready = selector.select(60)
            if not ready:
                raise AnswerError("no answer within 60 s")
            for key, _ in ready:
                turn = key.data
                outcome.bytes += _receive(turn, work)
                outcome.operations += 1
                now = time.monotonic()
                if len(times) < _TIMES_KEPT:
                    times.append(now - turn.since)
                if now >= end or turn.client.ended:
                    selector.unregister(key.fileobj)
                if now >= end:
                    waiting -= 1
                    continue
                renewed = turn.client.ended
                sent = _send(turn, wires, sent)
                if renewed:
                    selector.register(turn.client.sock, selectors.EVENT_READ, turn)
    outcome.seconds = time.monotonic() - began
    return outcome, times


def _send(turn: _Turn, wires: list[tuple[Ask, bytes]], sent: int) -> int:
    turn.ask, data = wires[sent % len(wires)]
    turn.since = time.monotonic()
    turn.client.send(data)
    return sent + 1


def _receive(turn: _Turn, work: Work) -> int:
    assert turn.ask is not None
    status, length = turn.client.receive(bodyless=turn.ask.method == "HEAD")
    if status not in work.statuses:
        raise AnswerError(f"{turn.ask.method} {turn.ask.path}: {status}")
    if work.length is not None and length != work.length:
        raise AnswerError(f"{turn.ask.method} {turn.ask.path}: {length} bytes instead of {work.length}")
    return length + len(turn.ask.body)


def main() -> None:
    """Do the work that standard input tells and report on standard output."""
    task = pickle.load(sys.stdin.buffer)
    try:
        result = _run(*task)
    except (AnswerError, OSError) as error:
        result = Outcome(seconds=1.0, errors=[f"{type(error).__name__}: {error}"]), []
    pickle.dump(result, sys.stdout.buffer)


if __name__ == "__main__":
    main()
