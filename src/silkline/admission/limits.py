"""A tenant's own limits: requests and tokens a minute.

Each limit is a bucket that holds a minute's worth and is filled evenly: who was quiet for a minute
may spend it at once. It is kept as the one moment at which the bucket will be full again (the
theoretical arrival time of the generic cell rate algorithm, ITU-T I.371 appendix I), so a tenant
takes two numbers, and one whose buckets are full takes none.
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
"""Tenants whose buckets are kept; the one that was away longest is forgotten for a further one."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that a request would exceed.

    Attributes:
        reason: Which limit.
        limit: Its value, a minute.
        seconds: After which the request would be let in, if nothing else came.
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
    """Holds tenants to their limits."""

    def __init__(self, clock: Callable[[], float], *, max_tenants: int = MAX_TENANTS) -> None:
        """Takes a clock that gives seconds and never goes back."""
        self._clock = clock
        self._maximum = max_tenants
        self._tenants: OrderedDict[str, _Buckets] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tenants)

    def check(self, tenant: Tenant, tokens: int) -> Breach | None:
        """The limit that one more request of so many tokens would exceed; charges nothing."""
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
        """Takes from a tenant's buckets; what is negative is given back.

        Tokens may take more than there is: an answer's real cost is known when it is too late to
        refuse it, and the tenant waits for it afterwards.
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
    """When `amount` is in the bucket; one that is never large enough must be full."""
    missing = min(MINUTE, amount * MINUTE / limit)
    seconds = until_full + missing - MINUTE
    return 0.0 if seconds <= 0 or math.isclose(seconds, 0.0, abs_tol=1e-6) else seconds
