"""Calls the admin API of a running server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import aiohttp

from silkline.config import server_root
from silkline.errors import ConfigError, EnvironmentFault, SilklineError

_SECONDS = 30.0
_SUCCESS, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = range(200, 300), 401, 403, 404


class NotThere(SilklineError):
    """The server has no such object."""


async def call(
    url: str,
    key_env: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    method: str = "",
    seconds: float = _SECONDS,
) -> dict[str, Any]:
    """Sends a request to the admin API and returns the object that it answers with.

    Args:
        url: The server's address, as the user wrote it.
        key_env: The environment variable with the key.
        path: The path, with its slash.
        body: What is sent as JSON; None sends nothing.
        method: The method; by default POST with a body and GET without one.
        seconds: Maximum seconds for the whole request.

    Raises:
        ConfigError: The address is none, or the key does not open the admin API.
        EnvironmentFault: The server does not respond, or is no Silkline server.
        NotThere: The server answers with 404.
        SilklineError: The server answers with another error.
    """
    root = root_of(url)
    status, content = await _sent(
        method or ("GET" if body is None else "POST"),
        root,
        path,
        body,
        headers_of(key_env),
        seconds,
    )
    try:
        found = json.loads(content)
        message = "" if status in _SUCCESS else str(found["error"]["message"])
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFault(f"{root} is not a Silkline server.") from error
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        raise ConfigError(f"The server refused: {message}")
    if status == _NOT_FOUND:
        raise NotThere(message)
    if message or not isinstance(found, dict):
        raise SilklineError(message)
    return found


async def fetch(url: str, key_env: str, path: str) -> bytes:
    """Gets a file of the admin API.

    Raises:
        ConfigError, EnvironmentFault: As `call` does.
        SilklineError: The server answers with an error.
    """
    root = root_of(url)
    status, content = await _sent("GET", root, path, None, headers_of(key_env), _SECONDS)
    if status not in _SUCCESS:
        raise SilklineError(f"The server answers {path} with the status {status}.")
    return content


def root_of(url: str) -> str:
    """The server's address in the form that paths can follow.

    Raises:
        ConfigError: It is none.
    """
    try:
        return server_root(url)
    except ValueError as error:
        raise ConfigError(f"The address {url} cannot be used: {error}.") from error


def headers_of(key_env: str) -> dict[str, str]:
    """The header with the key that an environment variable holds; none if it is unset."""
    key = os.environ.get(key_env, "")
    return {"authorization": f"Bearer {key}"} if key else {}


async def _sent(
    method: str,
    root: str,
    path: str,
    body: Mapping[str, Any] | None,
    headers: Mapping[str, str],
    seconds: float,
) -> tuple[int, bytes]:
    limit = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, headers=headers) as session,
            session.request(method, root + path, json=body, allow_redirects=False) as response,
        ):
            return response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise EnvironmentFault(
            f"{root} does not respond. Check --url, and that the server runs."
        ) from error
