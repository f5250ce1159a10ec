"""The options of commands that call the admin API of a running server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def admin_options(command: F) -> F:
    """Adds the options that name a server and its key."""
    for option in (
        click.option(
            "--key-env",
            default="SILKLINE_ADMIN_KEY",
            show_default=True,
            metavar="NAME",
            help="Environment variable with a key of the role admin; unset sends no key.",
        ),
        click.option(
            "--url",
            default="http://127.0.0.1:8000",
            show_default=True,
            help="Address of the server.",
        ),
    ):
        command = option(command)
    return command
