"""Shows on standard error how far a command is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Show = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much; 0 for not known."""


@contextmanager
def progress() -> Iterator[Show]:
    """A bar on a terminal, a line for each part of the work elsewhere."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total or None)


def _lines() -> Show:
    last = ""

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        del done
        if what != last:
            last = what
            click.echo(f"davfusion: {what}{f' ({total})' if total else ''}", err=True)
    return show
