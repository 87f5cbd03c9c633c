"""`davfusion recover`."""

from __future__ import annotations

import dataclasses
import os
from contextlib import closing
from pathlib import Path

import click

from davfusion import logs, state
from davfusion.cli.progress import progress
from davfusion.cli.status import size_text
from davfusion.cli.stores import absolute
from davfusion.config import from_options, load
from davfusion.processes.opening import store_of
from davfusion.recovering.recovery import Recovered, recover
from davfusion.settings import Config, ConfigError, ShareSettings

WHOLE, DAMAGED = 0, 4
"""Exit codes: everything came back, something did not."""


@click.command("recover")
@click.argument("store", required=False)
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
              help="TOML file with settings and shares.")
@click.option("--name", metavar="NAME", help="Which share of the file, or what to call the share.")
@click.option("--state", "state_directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where the share is to be served from.  [default: the same as of serve]")
def command(*, store: str | None, config_file: Path | None, name: str | None, state_directory: Path | None) -> int:
    """Bring a share in the chunked layout back from STORE alone, after its state directory was lost.

    Only the tree is fetched; the files follow when they are read. Nothing in the store is changed, but where the
    journal is damaged, a snapshot of what the rest of it says is added, and the share goes on from there.

    Exit code 0: everything came back. 4: it came back but for what is listed. 1: it did not.
    """
    logs.set_up(verbose=False)
    config = _settings(store, config_file)
    chosen = _chosen(config, name, by_address=store is not None)
    directory = (state_directory or config.state or _own_directory(config, config_file)).resolve()
    state.prepare(directory)
    with state.StateLock(directory), closing(store_of(chosen)) as opened:
        with progress() as show:
            recovered = recover(opened, chosen, directory, show)
        _save(directory, config, chosen, by_address=store is not None)
    _report(chosen, recovered)
    return WHOLE if recovered.is_whole else DAMAGED


def _settings(store: str | None, config_file: Path | None) -> Config:
    if (store is None) == (config_file is None):
        raise click.UsageError("Give either STORE or --config.")
    if config_file is not None:
        return load(config_file)
    return from_options(absolute(store or ""), {}, share_overrides={"layout": "chunked"})


def _chosen(config: Config, name: str | None, *, by_address: bool) -> ShareSettings:
    """The share that is meant. Raises ConfigError."""
    if by_address:
        return dataclasses.replace(config.share[0], name=name or config.share[0].name)
    chunked = [share for share in config.share if share.layout == "chunked" and name in (None, share.name)]
    if len(chunked) == 1:
        return chunked[0]
    names = ", ".join(share.name for share in config.share if share.layout == "chunked")
    if not names:
        raise ConfigError('The file has no share with layout = "chunked"; only those can be recovered.')
    raise ConfigError(f"Say which share is meant with --name; those in the chunked layout are: {names}.")


def _own_directory(config: Config, config_file: Path | None) -> Path:
    named_by = str(config_file.resolve()) if config_file else config.share[0].store
    return state.directory_for(named_by, os.environ)


def _save(directory: Path, config: Config, chosen: ShareSettings, *, by_address: bool) -> None:
    """Write down that the share lives here, beside those that do already."""
    if not by_address:
        state.save(directory, config)
        return
    try:
        others = tuple(share for share in state.saved(directory).share if share.name != chosen.name)
    except ConfigError:
        others = ()
    state.save(directory, dataclasses.replace(config, share=(*others, chosen), at_root=not others))


def _report(settings: ShareSettings, recovered: Recovered) -> None:
    for problem in recovered.damage:
        click.echo(f"{settings.name}: {problem}")
    for path, reason in (*recovered.objects, *recovered.lost):
        click.echo(f"{settings.name}: {path}: {reason}")
    for path, before in recovered.renamed:
        click.echo(f"{settings.name}: {path}: was {before}, as another file is")
    click.echo(f"{settings.name}: {recovered.files} files ({size_text(recovered.size)}) and {recovered.folders} "
               f"folders recovered; {len(recovered.lost)} are lost or damaged")
    if recovered.orphans:
        fate = ("they are kept: archives can be opened with any tool for ZIP files" if recovered.damage
                else "they will be removed from it")
        click.echo(f"{settings.name}: {recovered.orphans} objects in the store belong to nothing; {fate}")
    if recovered.unwritten is not None:
        click.echo(f"{settings.name}: The journal is damaged, and nothing can be written to the share until it is "
                   f"recovered once more, to another --state: {recovered.unwritten}.", err=True)
    if recovered.writer is not None:
        click.echo(f"{settings.name}: {recovered.writer}. What it writes from now on is not in this copy, which can "
                   "only be served once nobody else writes.", err=True)
