"""Who asks: a tenant, its share and its limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tenant:
    """One of those who share a server.

    Attributes:
        name: What metrics and logs call it.
        weight: Its share of the engines while others want them too, above 0.
        requests_per_minute: Most requests a minute; None sets no limit.
        tokens_per_minute: Most tokens a minute, in and out; None sets no limit.
        salt: Keeps its cached answers apart; tenants with the same salt share them.
    """

    name: str
    weight: float = 1.0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    salt: bytes = b""


ANYONE = Tenant("anyone")
"""Who asks where no keys are set up."""
