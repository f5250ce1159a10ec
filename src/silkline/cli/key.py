"""`silkline key`: create an API key for a tenant."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from silkline.errors import EnvironmentFault
from silkline.gateway.keys import KeyRing, Role, fragment, new_key

_OWNER_ONLY = 0o600


@click.command()
@click.argument("tenant", metavar="NAME")
@click.option(
    "--into",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keys file to add the key to, created if it is missing. By default, prints the lines.",
)
@click.option("--days", type=click.IntRange(min=1), help="Days until the key expires.")
@click.option("--admin", is_flag=True, help="The key may also use the admin API.")
def key(tenant: str, into: Path | None, days: int | None, admin: bool) -> None:
    """Create an API key for the tenant NAME.

    The key is shown only once: the keys file holds its digest. A server that uses the file accepts
    the key within seconds.
    """
    api_key = new_key()
    end = None if days is None else (datetime.now(UTC) + timedelta(days=days)).date()
    lines = fragment(tenant, api_key, end, Role.ADMIN if admin else Role.USER)
    if into is None:
        click.echo(f"# Add this to the keys file:\n{lines}", err=True)
    else:
        _append(into, lines)
    click.echo(api_key)


def _append(path: Path, lines: str) -> None:
    """Appends lines to a keys file; checks the file before and after.

    Raises:
        ConfigError: The file is not a valid keys file.
        EnvironmentFault: The file cannot be written.
    """
    try:
        if path.is_file():
            KeyRing.load(path)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER_ONLY)
        with open(file, "a", encoding="utf-8") as keys:  # noqa: PTH123 - a descriptor
            keys.write(f"\n{lines}" if keys.tell() else lines)
    except OSError as error:
        raise EnvironmentFault(
            f"{path} cannot be written: {os.strerror(error.errno or 0)}."
        ) from error
    KeyRing.load(path)
