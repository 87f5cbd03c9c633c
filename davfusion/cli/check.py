"""`davfusion check`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from davfusion import logs, state
from davfusion.chunks.errors import ChunksError
from davfusion.cli import states
from davfusion.cli.progress import progress
from davfusion.processes.opening import OpenShare, open_share
from davfusion.settings import ConfigError
from davfusion.store.errors import StoreError
from davfusion.sync.claims import SHARE
from davfusion.verification import Report, Verification

SOUND, DIFFERENT = 0, 4
"""Exit codes: nothing is wrong (any more), something is."""


@click.command("check")
@states.state_option
@states.config_option
@click.option("--repair", is_flag=True, help="Put right what can be; the server must not run.")
@click.option("--store", "in_store", is_flag=True,
              help="Chunked shares: make sure that all objects are in the store and the journal is whole. (The files "
                   "of plain shares are compared with the store in any case.)")
@click.option("--deep", is_flag=True, help="With --store: also read every byte of these objects.")
@click.option("--verbose", is_flag=True, help="List the objects to which nothing refers.")
def command(*, state_directory: Path | None, config_file: Path | None, repair: bool, in_store: bool, deep: bool,
            verbose: bool) -> int:
    """Verify index, contents and store against each other.

    A server may run meanwhile. Exit code 0: nothing is wrong, or everything was repaired. 4: something is wrong.
    """
    logs.set_up(verbose=False)
    directory, config = states.find(state_directory, config_file)
    sound = True
    with ExitStack() as stack:
        if repair:
            stack.enter_context(state.StateLock(directory, patience=0))
        for settings in config.share:
            opened = open_share(settings, directory)
            try:
                report = _verify(opened, directory, repair)
                sound = sound and not report.unrepaired
                if settings.layout == "chunked" and (in_store or deep):
                    sound = _audit(opened, deep=deep, verbose=verbose) and sound
            except (ChunksError, StoreError) as error:
                raise ConfigError(f"The store {settings.store} cannot be checked: {error}.") from error
            finally:
                opened.close()
    return SOUND if sound else DIFFERENT


def _verify(opened: OpenShare, directory: Path, repair: bool) -> Report:
    settings = opened.settings
    index_file = state.share_directory(directory, settings.name) / "index.db"
    report = Verification(opened.share, index_file, repair=repair, lists_store=settings.layout == "plain").run()
    for problem in report.problems:
        click.echo(f"{settings.name}: {problem.where}: {problem.text}{' (repaired)' if problem.repaired else ''}")
    click.echo(f"{settings.name}: {report.files} files, {report.folders} folders, {report.contents} cached contents; "
               f"{len(report.problems)} problems, {len(report.unrepaired)} left")
    return report


def _audit(opened: OpenShare, *, deep: bool, verbose: bool) -> bool:
    """Check a chunked share in its store; whether all is as it should be. Raises StoreError, ChunksError."""
    settings, share = opened.settings, opened.share
    known = share.index.view().operations.meta(SHARE)
    if known is None:
        click.echo(f"{settings.name}: nothing of it is in the store yet")
        return True
    # Late: plain shares need none of it.
    from davfusion.recovering.audit import Audit

    with progress() as show:
        audited = Audit(share.store, known, share.index, show=show).run(deep=deep)
    for where, text in sorted(audited.problems):
        click.echo(f"{settings.name}: {where}: {text}")
    for note in audited.notes:
        click.echo(f"{settings.name}: {note}")
    for path in audited.orphans if verbose else ():
        click.echo(f"{settings.name}: {path}: nothing refers to it")
    click.echo(f"{settings.name}: {audited.files} files in {audited.objects} objects of the store; "
               f"{len(audited.problems)} problems; {len(audited.orphans)} objects to which nothing refers")
    return not audited.problems
