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
        self._uncounted: dict[bytes, tuple[float, float]] | None = None

    def __len__(self) -> int:
        return len(self._tenants)

    def check(self, tenant: Tenant, tokens: int) -> Breach | None:
        """The limit that one more request with this many tokens would exceed; charges nothing."""
        if tenant.requests_per_minute is None and tenant.tokens_per_minute is None:
            return None
        key = tenant.name.encode()
        self._count(key, 0.0, 0.0)
        with self._tenants.locked():
            buckets = self._tenants.get(key)
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
            request_seconds = _seconds_of(requests, tenant.requests_per_minute)
            token_seconds = _seconds_of(tokens, tenant.tokens_per_minute)
            requests_full = max(requests_full, now) + request_seconds
            tokens_full = max(tokens_full, now) + token_seconds
            until = max(requests_full, tokens_full)
            self._tenants.put(key, (until, requests_full, tokens_full))
        self._count(key, request_seconds, token_seconds)

    def share(self) -> None:
        """Collects what is charged from now on, for `uncounted`."""
        self._uncounted = {}

    def uncounted(self) -> dict[bytes, tuple[float, float]]:
        """Returns what was charged since the last call, by tenant.

        It is in seconds in which the bucket of requests and that of tokens are filled by as much.
        Tenants that were only checked have zeros.
        """
        taken, self._uncounted = self._uncounted or {}, {}
        return taken

    def correct(self, tenant: bytes, request_seconds: float, token_seconds: float) -> None:
        """Sets a tenant's buckets, but for what is uncounted.

        Args:
            tenant: Its name.
            request_seconds: Time until the bucket of requests is full.
            token_seconds: Time until that of tokens is full.
        """
        now = self._clock()
        requests, tokens = (self._uncounted or {}).get(tenant, (0.0, 0.0))
        requests_full = now + request_seconds + requests
        tokens_full = now + token_seconds + tokens
        with self._tenants.locked():
            self._tenants.put(tenant, (max(requests_full, tokens_full), requests_full, tokens_full))

    def _count(self, tenant: bytes, requests: float, tokens: float) -> None:
        if self._uncounted is not None:
            before = self._uncounted.get(tenant, (0.0, 0.0))
            self._uncounted[tenant] = (before[0] + requests, before[1] + tokens)


def _seconds_of(amount: int, limit: int | None) -> float:
    """Time in which a bucket is filled by an amount; 0 without a limit."""
    return 0.0 if limit is None else amount * MINUTE / limit


def _seconds_until(until_full: float, amount: int, limit: int) -> float:
    """Time until the bucket holds `amount`, or is full if it can never hold that much."""
    missing = min(MINUTE, amount * MINUTE / limit)
    seconds = until_full + missing - MINUTE
    return 0.0 if seconds <= 0 or math.isclose(seconds, 0.0, abs_tol=1e-6) else seconds
