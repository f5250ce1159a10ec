"""Rate limits of tenants: requests and tokens per minute.

Each limit is a bucket that holds one minute's worth and is filled evenly: a tenant that sent
nothing for a minute may use all of it at once. A bucket is stored as the time at which it will be
full again (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371 appendix
I), so a tenant takes two numbers. The buckets of a tenant that is not stored are full.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from silkline.admission.counts import Refusal
from silkline.admission.tenant import Tenant

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


@dataclass(slots=True)
class _Buckets:
    """When each bucket is full again, by the clock."""

    requests_full: float = 0.0
    tokens_full: float = 0.0


class Limits:
    """Enforces the rate limits of tenants."""

    def __init__(self, clock: Callable[[], float], *, max_tenants: int = MAX_TENANTS) -> None:
        """Takes a clock that gives monotonic seconds."""
        self._clock = clock
        self._maximum = max_tenants
        self._tenants: OrderedDict[str, _Buckets] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tenants)

    def check(self, tenant: Tenant, tokens: int) -> Breach | None:
        """The limit that one more request with this many tokens would exceed; charges nothing."""
        buckets = self._tenants.get(tenant.name)
        if buckets is None:
            return None
        now = self._clock()
        for reason, limit, full, amount in (
            (Refusal.REQUESTS, tenant.requests_per_minute, buckets.requests_full, 1),
            (Refusal.TOKENS, tenant.tokens_per_minute, buckets.tokens_full, tokens),
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
        buckets = self._tenants.setdefault(tenant.name, _Buckets())
        self._tenants.move_to_end(tenant.name)
        now = self._clock()
        if tenant.requests_per_minute is not None:
            buckets.requests_full = _filled(
                buckets.requests_full, now, requests, tenant.requests_per_minute
            )
        if tenant.tokens_per_minute is not None:
            buckets.tokens_full = _filled(
                buckets.tokens_full, now, tokens, tenant.tokens_per_minute
            )
        if len(self._tenants) > self._maximum:
            self._tenants.popitem(last=False)


def _filled(full: float, now: float, amount: int, limit: int) -> float:
    return max(full, now) + amount * MINUTE / limit


def _seconds_until(until_full: float, amount: int, limit: int) -> float:
    """Time until the bucket holds `amount`, or is full if it can never hold that much."""
    missing = min(MINUTE, amount * MINUTE / limit)
    seconds = until_full + missing - MINUTE
    return 0.0 if seconds <= 0 or math.isclose(seconds, 0.0, abs_tol=1e-6) else seconds
