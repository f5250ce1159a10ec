"""The `silkline` command."""

from __future__ import annotations

import io
import sys
from importlib import import_module

import click

from silkline import __version__
from silkline.errors import SilklineError, exit_code
from silkline.models.printable import printable

_COMMANDS = (
    "up",
    "describe",
    "evaluate",
    "optimize",
    "distill",
    "cascade",
    "merge",
    "gate",
    "ship",
    "inspect",
    "store",
    "doctor",
    "bench",
    "plan",
    "simulate",
    "batch",
    "render",
    "key",
    "trace",
    "experiment",
    "baseline",
    "drift",
    "review",
)
"""Modules of this package, each with a command of the same name, in the order of the help."""

_MAX_CHARACTERS = 4000
"""Maximum characters of a printed error; Silkline's own messages are much shorter."""


class _Commands(click.Group):
    """Imports a command only when it is used: it needs none of the other commands' libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"silkline.cli.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{command!r} is not a command")
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="silkline")
def silkline() -> None:
    """Serve a vision-language model behind an API, and check that its answers stay right.

    Exit codes: 0 success, 1 failure, 2 usage error, 3 gate refused, 4 environment error.
    """


def main() -> None:
    """Runs the command line and exits with the documented code."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="replace")  # an unsupported character must not end a command
    try:
        silkline(standalone_mode=True)
    except SilklineError as error:
        # The message may quote a model's files, so control characters must not reach the terminal.
        click.echo(f"silkline: {printable(error.message, _MAX_CHARACTERS)}", err=True)
        sys.exit(exit_code(error))
