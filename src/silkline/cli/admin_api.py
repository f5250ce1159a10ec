"""Calls the admin API of a running server, for the commands that need it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import aiohttp
import click

from silkline.config import server_root
from silkline.errors import ConfigError, EnvironmentFault, SilklineError

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_OK, _UNAUTHORIZED, _FORBIDDEN = 200, 401, 403


def admin_options(command: Callable[..., Any]) -> Callable[..., Any]:
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


async def call(
    url: str, key_env: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Gets an object from the admin API, or posts one.

    Args:
        url: The server's address, as the user wrote it.
        key_env: The variable with the key.
        path: The path, with its slash.
        body: What is posted; None gets.

    Raises:
        click.BadParameter: The address is none.
        EnvironmentFault: The server does not respond.
        ConfigError: The key does not open the admin API.
        SilklineError: The server answers with another error.
    """
    try:
        root = server_root(url)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--url") from error
    key = os.environ.get(key_env, "")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    method = "GET" if body is None else "POST"
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session,
            session.request(method, root + path, json=body, allow_redirects=False) as response,
        ):
            status, content = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise EnvironmentFault(
            f"{root} does not respond. Check --url, and that the server runs."
        ) from error
    try:
        found = json.loads(content)
        message = "" if status == _OK else str(found["error"]["message"])
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFault(f"{root} is not a Silkline server.") from error
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        raise ConfigError(f"The server refused: {message}")
    if status != _OK or not isinstance(found, dict):
        raise SilklineError(message)
    return found
