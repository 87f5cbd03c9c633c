"""What the commands beside a server work on: a state directory, its shares and their indexes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from davfusion import state
from davfusion.cache.index import Index
from davfusion.config import load
from davfusion.settings import Config, ShareSettings

state_option = click.option(
    "--state", "state_directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="The state directory of the server.  [default: the only one there is]")
config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
    help="The settings of the server; needed where no server runs and the file holds credentials.")


def find(state_directory: Path | None, config_file: Path | None = None) -> tuple[Path, Config]:
    """The state directory that is meant, and the settings of its shares. Raises ConfigError."""
    given = None if config_file is None else load(config_file)
    if state_directory is None and given is not None and config_file is not None:
        state_directory = given.state or state.directory_for(str(config_file.resolve()), os.environ)
    directory = state.find(state_directory, os.environ)
    return directory, given or state.saved(directory)


@contextmanager
def open_indexes(directory: Path, config: Config) -> Iterator[list[tuple[ShareSettings, Index]]]:
    """The index of every share that has been served already."""
    opened: list[tuple[ShareSettings, Index]] = []
    try:
        for share in config.share:
            file = state.share_directory(directory, share.name) / "index.db"
            if file.exists():
                opened.append((share, Index(file)))
        yield opened
    finally:
        for _, index in opened:
            index.close()
