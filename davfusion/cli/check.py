"""`davfusion check`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from davfusion import logs, state
from davfusion.cli import states
from davfusion.processes.opening import open_share
from davfusion.settings import ConfigError, ShareSettings
from davfusion.store.errors import StoreError
from davfusion.verification import Report, Verification

SOUND, DIFFERENT = 0, 4
"""Exit codes: nothing is wrong (any more), something is."""


@click.command("check")
@states.state_option
@states.config_option
@click.option("--repair", is_flag=True, help="Put right what can be; the server must not run.")
def command(*, state_directory: Path | None, config_file: Path | None, repair: bool) -> int:
    """Verify index, contents and store against each other.

    Exit code 0: nothing is wrong, or everything was repaired. 4: something is wrong.
    """
    logs.set_up(verbose=False)
    directory, config = states.find(state_directory, config_file)
    with ExitStack() as stack:
        if repair:
            stack.enter_context(state.StateLock(directory, patience=0))
        reports = [_verify(directory, share, repair) for share in config.share]
    return DIFFERENT if any(report.unrepaired for report in reports) else SOUND


def _verify(directory: Path, settings: ShareSettings, repair: bool) -> Report:
    opened = open_share(settings, directory)
    try:
        index_file = state.share_directory(directory, settings.name) / "index.db"
        report = Verification(opened.share, index_file, repair=repair).run()
    except StoreError as error:
        raise ConfigError(f"The store {settings.store} cannot be asked: {error}.") from error
    finally:
        opened.close()
    for problem in report.problems:
        click.echo(f"{settings.name}: {problem.where}: {problem.text}{' (repaired)' if problem.repaired else ''}")
    click.echo(f"{settings.name}: {report.files} files, {report.folders} folders, {report.contents} cached contents; "
               f"{len(report.problems)} problems, {len(report.unrepaired)} left")
    return report
