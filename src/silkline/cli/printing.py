"""How results reach a terminal, or a pipe."""

from __future__ import annotations

import click
from rich.console import Console, RenderableType

_WIDE = 100_000
"""Columns of a pipe: nothing is wrapped there."""


def print_result(result: RenderableType) -> None:
    """Prints to standard output; into a pipe without wrapping, and without blanks at the ends."""
    console = Console()
    if console.is_terminal:
        console.print(result)
        return
    console.width = _WIDE
    with console.capture() as captured:
        console.print(result)
    click.echo("\n".join(line.rstrip(" ") for line in captured.get().splitlines()))


def print_notice(notice: str) -> None:
    """Prints a line that the user should see to standard error."""
    click.echo(f"silkline: {notice}", err=True)


def progress_console(*, quiet: bool = False) -> Console:
    """Standard error for what moves; nothing of it goes into a pipe."""
    console = Console(stderr=True)
    console.quiet = quiet or not console.is_terminal
    return console
