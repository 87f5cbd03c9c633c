"""The command `davfusion`.

Exit codes of all commands: 0 done, 1 it could not be done (a sentence on standard error says why and what
to do), 2 wrong usage; `status` and `sync` also 3 (something waits) and 4 (something is parked); `check` and `recover`
also 4 (something is wrong, or lost).
"""

from __future__ import annotations

import importlib
import sys

import click

from davfusion import __version__
from davfusion.accounts.errors import AccountsError
from davfusion.cache.errors import StateInUseError
from davfusion.settings import ConfigError

_COMMANDS = {
    "serve": "Serve a store as a network drive.",
    "sync": "Carry everything that waits to the store.",
    "status": "Show what waits, what fails and why.",
    "convert": "Carry a share over into the other layout.",
    "recover": "Bring a chunked share back from its store alone.",
    "user": "Say who may sign in.",
    "check": "Verify index, contents and store against each other.",
}


class _Commands(click.Group):
    """Loads a command only when it is used: starting has to be fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"davfusion.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="davfusion")
def cli() -> None:
    """Mount cloud storage as a network drive: a WebDAV server with a cache that loses nothing."""


def main() -> None:
    """The entry point of the installed command."""
    try:
        code = cli.main(prog_name="davfusion", standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (AccountsError, ConfigError, StateInUseError) as error:
        click.echo(f"davfusion: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
