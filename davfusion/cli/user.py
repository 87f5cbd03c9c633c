"""`davfusion user`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from davfusion.accounts import commands
from davfusion.accounts.rights import Right

_USERS = click.option("--users", "file", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE",
                      help="The users file, as given to `davfusion serve`.")
_DEFAULT = click.option("--right", "default", type=click.Choice([right.value for right in Right]),
                        help="On shares not named by --share.  [default: what each share gives]")
_SHARES = click.option("--share", "shares", multiple=True, metavar="NAME=RIGHT",
                       help="The right on one share: none, read or write. May be given several times.")
_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@click.group("user")
def command() -> None:
    """Say who may sign in, and what they may do. A running davfusion notices every change at once."""


@command.command("add")
@click.argument("name")
@_USERS
@_DEFAULT
@_SHARES
@_STDIN
def _add(*, name: str, file: Path, default: str | None, shares: tuple[str, ...], password_stdin: bool) -> None:
    """Add the user NAME."""
    rights = _rights(default, shares)
    click.echo(commands.add(file, name, _password(password_stdin), **rights))


@command.command("passwd")
@click.argument("name")
@_USERS
@_STDIN
def _passwd(*, name: str, file: Path, password_stdin: bool) -> None:
    """Give the user NAME another password."""
    commands.listed(file).get(name)
    click.echo(commands.passwd(file, name, _password(password_stdin)))


@command.command("rights")
@click.argument("name")
@_USERS
@_DEFAULT
@_SHARES
def _set_rights(*, name: str, file: Path, default: str | None, shares: tuple[str, ...]) -> None:
    """Replace the rights of the user NAME."""
    click.echo(commands.rights(file, name, **_rights(default, shares)))


@command.command("rm")
@click.argument("name")
@_USERS
def _remove(*, name: str, file: Path) -> None:
    """Remove the user NAME."""
    click.echo(commands.remove(file, name))


@command.command("list")
@_USERS
def _list(*, file: Path) -> None:
    """Show all users and their rights."""
    for user in commands.listed(file):
        click.echo(f"{user.name}: {commands.rights_text(user)}")


def _rights(default: str | None, shares: tuple[str, ...]) -> dict[str, Any]:
    return {"default": None if default is None else Right(default), "shares": commands.share_rights(shares)}


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
