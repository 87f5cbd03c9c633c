"""`davfusion convert`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from davfusion import logs, state
from davfusion.chunks.errors import ChunksError
from davfusion.chunks.marker import read_marker
from davfusion.cli.stores import absolute
from davfusion.cli.sync import await_empty, request
from davfusion.config import from_options
from davfusion.conversion.convert import Conversion, Outcome, Progress, Record
from davfusion.conversion.source import ChunkedShare, PlainShare, ShareInStore
from davfusion.processes.claiming import claim_shares
from davfusion.processes.engine import carry, make_engines
from davfusion.processes.opening import bring_in_order, note_clean_stops, open_shares, store_of
from davfusion.settings import Config, ConfigError
from davfusion.store.errors import StoreError
from davfusion.store.interface import Store

_RECORD = "converted.jsonl"
_GATHER = 2.0
"""Seconds for which files gather until they are packed."""


@click.command("convert")
@click.argument("source")
@click.argument("target")
@click.option("--layout", type=click.Choice(["plain", "chunked"]),
              help="The layout of TARGET.  [default: the one that SOURCE has not]")
@click.option("--state", "state_directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="State directory of TARGET, from which it can be served afterwards.")
@click.option("--deep", is_flag=True, help="Read everything back and compare each byte.")
@click.option("--verbose", is_flag=True, help="Log every transfer.")
def command(*, source: str, target: str, layout: str | None, state_directory: Path | None, deep: bool,
            verbose: bool) -> int:
    """Carry the share in the store SOURCE over to the store TARGET in the other layout.

    Nothing is changed in SOURCE; nobody should change it meanwhile. Interrupted, the same command goes on where it
    was. At the end the names and sizes in TARGET are compared with SOURCE. Exit code 0: all is there. 1: not.
    """
    logs.set_up(verbose=verbose)
    reading = from_options(absolute(source), {}, share_overrides={})
    with ExitStack() as stack:
        store = store_of(reading.share[0])
        stack.callback(store.close)
        share, found = _open(store, source)
        layout = layout or ("plain" if found == "chunked" else "chunked")
        config = from_options(absolute(target), {}, share_overrides={
            "layout": layout, "upload_delay": _GATHER if layout == "chunked" else 0.0})
        directory = (state_directory or state.directory_for(config.share[0].store, os.environ)).resolve()
        state.prepare(directory)
        stack.enter_context(state.StateLock(directory))
        state.claim(directory, config.share[0])
        state.save(directory, from_options(absolute(target), {}, share_overrides={"layout": layout}))
        claim_shares(config, directory)
        bring_in_order(config, directory)
        outcome = _convert(share, config, directory, deep)
        note_clean_stops(config, directory)
    return _report(outcome, target)


def _open(store: Store, address: str) -> tuple[ShareInStore, str]:
    """The share in a store and its layout. Raises ConfigError."""
    try:
        marker = read_marker(store)
        if marker is None:
            return PlainShare(store), "plain"
        return ChunkedShare(store, marker), "chunked"
    except (StoreError, ChunksError) as error:
        raise ConfigError(f"{address} cannot be read: {error}.") from error


def _convert(source: ShareInStore, config: Config, directory: Path, deep: bool) -> Outcome:
    shares = open_shares(config, directory)
    opened, stop = shares[0], threading.Event()
    record = Record(state.share_directory(directory, opened.settings.name) / _RECORD)
    engine = threading.Thread(target=carry, args=(make_engines(shares), stop), name="engine")
    engine.start()
    try:
        with _progress(sys.stderr.isatty()) as show:
            conversion = Conversion(source, opened.share, record, show=show)
            entries = conversion.take_over(stop)
            request([opened.share.index])
            await_empty([opened.share.index], None, lambda _: None)
        conversion.compare(entries, _open(opened.share.store, config.share[0].store)[0], deep=deep)
        return conversion.outcome
    except StoreError as error:
        raise ConfigError(
            f"The share cannot be carried over: {error}. Give the same command again to go on.") from error
    finally:
        stop.set()
        engine.join()
        record.close()
        opened.close()


def _report(outcome: Outcome, target: str) -> int:
    for path, problem in sorted(outcome.failed.items()):
        click.echo(f"not taken over: {path}: {problem}", err=True)
    for path in sorted(outcome.different):
        click.echo(f"not the same in {target}: {path}", err=True)
    click.echo(f"{outcome.taken} files taken over, {outcome.known} were there, {len(outcome.failed)} failed, "
               f"{len(outcome.different)} differ")
    return 0 if outcome.is_whole else 1


@contextmanager
def _progress(on_terminal: bool) -> Iterator[Callable[[Progress], None]]:
    if not on_terminal:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn()
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("taking over", text="", total=None)

        def show(progress: Progress) -> None:
            bars.update(task, total=max(progress.all_size, 1), completed=progress.size,
                        text=f"{progress.files} of {progress.all_files} files")

        yield show
