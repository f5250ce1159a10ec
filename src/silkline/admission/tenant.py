"""A tenant, its weight and its limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tenant:
    """A user, or a group of users, that shares the server with others.

    Attributes:
        name: Its name in metrics and logs.
        weight: Its share of the engines under load, relative to the other weights, above 0.
        requests_per_minute: Maximum requests per minute; None sets no limit.
        tokens_per_minute: Maximum tokens per minute, prompt and answer; None sets no limit.
        salt: Separates its cached answers from others; tenants with the same salt share them.
    """

    name: str
    weight: float = 1.0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    salt: bytes = b""


NOBODY = Tenant("")
"""The tenant of requests that were refused because of their key or where they came from."""

ANYONE = Tenant("anyone")
"""The tenant of all requests where no API keys are configured."""
