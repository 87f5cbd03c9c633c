"""`davfusion sync`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from davfusion import logs, state
from davfusion.cache.errors import StateInUseError
from davfusion.cache.index import Index
from davfusion.cli import states
from davfusion.cli.status import exit_code
from davfusion.settings import Config

_LOOK_EVERY = 0.1
_REQUEST_AGAIN = 1.0

Counts = tuple[int, int, int]
"""Changes that wait, bytes that wait, parked changes."""


@click.command("sync")
@states.state_option
@states.config_option
@click.option("--wait", is_flag=True, help="Return when everything has reached the store.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="With --wait: give up after this time.")
@click.option("--verbose", is_flag=True, help="Log every transfer.")
def command(*, state_directory: Path | None, config_file: Path | None, wait: bool, timeout: float | None,
            verbose: bool) -> int:
    """Carry everything that waits to the store now, without its upload delay.

    A running server does it; without one, this command does it itself.
    Exit code 0: everything is in the store. 3: something still waits. 4: something is parked.
    """
    logs.set_up(verbose=verbose)
    directory, config = states.find(state_directory, config_file)
    deadline = None if timeout is None else time.monotonic() + timeout
    with states.open_indexes(directory, config) as indexes, ExitStack() as own:
        everything = [index for _, index in indexes]
        if not wait:
            request(everything)
        if not wait and state.is_locked(directory):
            return exit_code(*_waiting_and_parked(everything))
        own.enter_context(_engine_where_none_runs(directory, config))
        request(everything)
        with _progress(sys.stderr.isatty()) as show:
            await_empty(everything, deadline, show)
        waiting, parked = _waiting_and_parked(everything)
        _explain(waiting, parked)
        return exit_code(waiting, parked)


def request(indexes: list[Index]) -> None:
    """Ask the engine of every share to carry everything now."""
    for index in indexes:
        index.write(lambda view: view.operations.request_sync())


def await_empty(indexes: list[Index], deadline: float | None, show: Callable[[Counts], None]) -> None:
    """Return when nothing waits any more, or at the deadline (of the monotonic clock)."""
    asked = time.monotonic()
    while True:
        counts = _counts(indexes)
        show(counts)
        now = time.monotonic()
        if counts[0] == 0 or (deadline is not None and now >= deadline):
            return
        if now - asked > _REQUEST_AGAIN:
            # what clients changed since then is meant too
            request(indexes)
            asked = now
        time.sleep(_LOOK_EVERY)


def _counts(indexes: list[Index]) -> Counts:
    waiting, size, parked = 0, 0, 0
    for index in indexes:
        view = index.view()
        more_waiting, more_parked = view.nodes.count_dirty()
        waiting, parked, size = waiting + more_waiting, parked + more_parked, size + view.nodes.dirty_bytes()
    return waiting, size, parked


def _waiting_and_parked(indexes: list[Index]) -> tuple[int, int]:
    waiting, _, parked = _counts(indexes)
    return waiting, parked


def _explain(waiting: int, parked: int) -> None:
    if waiting:
        click.echo(f"davfusion: {waiting} changes still wait; `davfusion status` shows them.", err=True)
    if parked:
        click.echo(f"davfusion: {parked} changes are parked and need you; `davfusion status` says why.", err=True)


@contextmanager
def _engine_where_none_runs(directory: Path, config: Config) -> Iterator[None]:
    """Run the engines in this process unless a server does."""
    try:
        lock = state.StateLock(directory, patience=0)
    except StateInUseError:
        yield
        return
    # Late, because most often the running server does the work.
    from davfusion.processes.engine import carry, make_engines
    from davfusion.processes.opening import open_shares

    with lock:
        shares = open_shares(config, directory)
        stop = threading.Event()
        engines = threading.Thread(target=carry, args=(make_engines(shares), stop), name="engines")
        engines.start()
        try:
            yield
        finally:
            stop.set()
            engines.join()
            for opened in shares:
                opened.close()


@contextmanager
def _progress(on_terminal: bool) -> Iterator[Callable[[Counts], None]]:
    """Something that shows what waits: a bar on a terminal, nothing elsewhere."""
    if not on_terminal:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("to the store", text="", total=None)
        most = 0

        def show(counts: Counts) -> None:
            nonlocal most
            most = max(most, counts[1] + counts[0])
            progress.update(task, total=max(most, 1), completed=most - counts[1] - counts[0],
                            text=f"{counts[0]} changes wait")

        yield show
