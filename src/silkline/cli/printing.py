"""Prints results and notices to a terminal or a pipe."""

from __future__ import annotations

import click
from rich.console import Console, RenderableType

_WIDE = 100_000
"""Columns of a pipe, so that nothing is wrapped."""


def print_result(result: RenderableType) -> None:
    """Prints to standard output; to a pipe, without wrapping and trailing spaces."""
    console = Console()
    if console.is_terminal:
        console.print(result)
        return
    console.width = _WIDE
    with console.capture() as captured:
        console.print(result)
    click.echo("\n".join(line.rstrip(" ") for line in captured.get().splitlines()))


def print_notice(notice: str) -> None:
    """Prints a notice for the user to standard error."""
    click.echo(f"silkline: {notice}", err=True)


def progress_console(*, quiet: bool = False) -> Console:
    """Returns a console for progress on standard error; silent unless it is a terminal."""
    console = Console(stderr=True)
    console.quiet = quiet or not console.is_terminal
    return console
