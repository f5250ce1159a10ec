"""Rate limits of tenants: requests and tokens per minute.

Each limit is a bucket that holds one minute's worth and is filled evenly: a tenant that sent
nothing for a minute may use all of it at once. A bucket is stored as the time at which it will be
full again (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371 appendix
I), so a tenant takes two numbers. The buckets of a tenant that is not stored are full.

Gateway processes may share the table. They check a request before they charge it, so `N` processes
may admit up to `N - 1` requests at the same moment for the last one that the limit allows. The
charges are exact, so later requests pay for these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from silkline.admission.counts import Refusal
from silkline.admission.tenant import Tenant
from silkline.stores.memory import PrivateTable, Table

MINUTE = 60.0

MAX_TENANTS = 10_000
"""Maximum tenants whose buckets are kept; the least recently used one is dropped."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that a request would exceed.

    Attributes:
        reason: Which limit.
        limit: Its value per minute.
        seconds: Time until the request would be admitted, if no other arrives.
    """

    reason: Refusal
    limit: int
    seconds: float


class Limits:
    """Enforces the rate limits of tenants."""

    def __init__(self, clock: Callable[[], float], table: Table | None = None) -> None:
        """Takes a clock that gives monotonic seconds, and where the buckets are stored.

        A record has the times at which the bucket of requests and that of tokens are full again.
        """
        self._clock = clock
        self._tenants = PrivateTable(MAX_TENANTS) if table is None else table

    def __len__(self) -> int:
        return len(self._tenants)

    def check(self, tenant: Tenant, tokens: int) -> Breach | None:
        """The limit that one more request with this many tokens would exceed; charges nothing."""
        if tenant.requests_per_minute is None and tenant.tokens_per_minute is None:
            return None
        with self._tenants.locked():
            buckets = self._tenants.get(tenant.name.encode())
        if buckets is None:
            return None
        _, requests_full, tokens_full = buckets
        now = self._clock()
        for reason, limit, full, amount in (
            (Refusal.REQUESTS, tenant.requests_per_minute, requests_full, 1),
            (Refusal.TOKENS, tenant.tokens_per_minute, tokens_full, tokens),
        ):
            seconds = 0.0 if limit is None else _seconds_until(full - now, amount, limit)
            if limit is not None and seconds > 0:
                return Breach(reason, limit, seconds)
        return None

    def charge(self, tenant: Tenant, *, requests: int, tokens: int) -> None:
        """Takes from a tenant's buckets; negative numbers are refunds.

        The tokens may exceed what is in the bucket: an answer's actual cost is known only when it
        is too late to refuse it, and the tenant's next requests wait for it.
        """
        if tenant.requests_per_minute is None and tenant.tokens_per_minute is None:
            return
        key, now = tenant.name.encode(), self._clock()
        with self._tenants.locked():
            _, requests_full, tokens_full = self._tenants.get(key) or (0.0, 0.0, 0.0)
            if tenant.requests_per_minute is not None:
                requests_full = _filled(requests_full, now, requests, tenant.requests_per_minute)
            if tenant.tokens_per_minute is not None:
                tokens_full = _filled(tokens_full, now, tokens, tenant.tokens_per_minute)
            until = max(requests_full, tokens_full)
            self._tenants.put(key, (until, requests_full, tokens_full))


def _filled(full: float, now: float, amount: int, limit: int) -> float:
    return max(full, now) + amount * MINUTE / limit


def _seconds_until(until_full: float, amount: int, limit: int) -> float:
    """Time until the bucket holds `amount`, or is full if it can never hold that much."""
    missing = min(MINUTE, amount * MINUTE / limit)
    seconds = until_full + missing - MINUTE
    return 0.0 if seconds <= 0 or math.isclose(seconds, 0.0, abs_tol=1e-6) else seconds
