"""`davfusion serve`."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import click

from davfusion import logs, state
from davfusion.cli.stores import absolute
from davfusion.config import from_options, load, parse_size
from davfusion.processes.claiming import claim_shares
from davfusion.processes.listening import address_of, listen
from davfusion.settings import Config, join_listen


def _size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from error


@click.command("serve")
@click.argument("store", required=False)
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
              help="TOML file with settings and shares.")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 lets the system choose.  [default: 8080]")
@click.option("--state", "state_directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where index and cache are.  [default: one per store below ~/.local/state/davfusion]")
@click.option("--workers", metavar="N", help="Number of front processes, or auto: one per core.  [default: 1]")
@click.option("--read-only", is_flag=True, help="Refuse every change.")
@click.option("--anonymous", is_flag=True, help="Let everybody in, also from other computers.")
@click.option("--users", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Only these people may sign in (see davfusion user).")
@click.option("--tls-cert", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Certificate and chain (PEM); read again on SIGHUP.")
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Its key (PEM).")
@click.option("--layout", type=click.Choice(["plain", "chunked"]),
              help="How files lie in the store: one object each, or packed into archives and blocks.  [default: plain]")
@click.option("--pack-below", metavar="SIZE", callback=_size,
              help="Chunked: pack files smaller than this into archives.  [default: 1M]")
@click.option("--archive-size", metavar="SIZE", callback=_size,
              help="Chunked: about the size of an archive.  [default: 16M]")
@click.option("--block-size", metavar="SIZE", callback=_size,
              help="Chunked: cut larger files into blocks of this size.  [default: 4M]")
@click.option("--upload-delay", type=click.FloatRange(0), metavar="SECONDS",
              help="Wait so long after the last change of a file before it is uploaded.")
@click.option("--revalidate-after", type=click.FloatRange(0), metavar="SECONDS",
              help="Believe for so long what the store told about a folder.")
@click.option("--durability", type=click.Choice(["power-safe", "process-safe"]),
              help="What an acknowledged change survives: power loss, or the end of the process.")
@click.option("--cache-size", metavar="SIZE", callback=_size, help="Largest size of the state directory, such as 10G.")
@click.option("--verbose", is_flag=True, help="Log every request and transfer.")
def command(*, store: str | None, config_file: Path | None, state_directory: Path | None, verbose: bool,
            **options: Any) -> int:
    """Serve STORE, a folder or an address such as s3://bucket/prefix, as a network drive.

    Without STORE and --config, the folder ~/davfusion is served.

    Signals to this process: SIGTERM and SIGINT stop it once the requests under way are answered. SIGHUP reads the
    certificate again; a users file needs no signal. SIGUSR1 replaces the workers one after the other without
    refusing a request.
    """
    logs.set_up(verbose=verbose)
    config = _settings(store, config_file, options)
    config.require_private()
    in_memory = any(share.store.startswith("memory:") for share in config.share)
    directory = (state_directory or config.state or _own_directory(config, config_file)).resolve()
    state.prepare(directory)
    with state.StateLock(directory) as lock:
        if in_memory and state_directory is None and config.state is None:
            # what the last process kept in memory is gone, and what is known about it with it
            shutil.rmtree(directory / "shares")
            state.prepare(directory)
        for share in config.share:
            state.claim(directory, share)
        state.save(directory, config)
        in_one = in_memory or os.name != "posix"
        sockets = listen(config.host, config.port, 1 if in_one else config.worker_count())
        claim_shares(config, directory)
        # One of both, late: starting is quicker without what the children need.
        if in_one:
            from davfusion.processes.single import run
        else:
            from davfusion.processes.several import run
        return run(config, directory, sockets, lock, announcement=_announcement(config, sockets[0]), verbose=verbose)


def _settings(store: str | None, config_file: Path | None, options: dict[str, Any]) -> Config:
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    host, port = given.pop("host", None), given.pop("port", None)
    own: dict[str, Any] = {name: given.pop(name) for name in ("workers", "anonymous") if name in given}
    own |= {name: given.pop(name).resolve() for name in ("users", "tls_cert", "tls_key") if name in given}
    if str(own.get("workers", "")).isdecimal():
        own["workers"] = int(own["workers"])
    if config_file is not None and store is not None:
        raise click.UsageError("Give STORE or --config, not both.")
    if config_file is not None:
        config = load(config_file, own, share_overrides=given)
    else:
        config = from_options(_absolute(store), own, share_overrides=given)
    listen_at = join_listen(host or config.host, config.port if port is None else port)
    return dataclasses.replace(config, listen=listen_at)


def _absolute(store: str | None) -> str:
    """The address of the store that does not depend on the current folder."""
    if store is None:
        own = Path.home() / "davfusion"
        own.mkdir(exist_ok=True)
        return str(own)
    return absolute(store)


def _own_directory(config: Config, config_file: Path | None) -> Path:
    named_by = str(config_file.resolve()) if config_file else config.share[0].store
    return state.directory_for(named_by, os.environ)


def _announcement(config: Config, listening: socket.socket) -> str:
    names = ", ".join(share.name for share in config.share)
    what = config.share[0].store if config.at_root else names
    scheme = "http" if config.tls_cert is None else "https"
    return f"davfusion serves {what} at {address_of(listening, scheme)}"
