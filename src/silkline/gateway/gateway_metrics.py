"""Metrics of what only the gateway has: requests with an idempotency key, and API keys."""

from __future__ import annotations

import time
from collections.abc import Iterator

from silkline.gateway.idempotency.layer import IdempotencyLayer
from silkline.gateway.keys_file import KeysFile
from silkline.observe import catalogue
from silkline.observe.declared import Reading


def gateway_readings(idempotency: IdempotencyLayer, keys: KeysFile | None) -> Iterator[Reading]:
    """Requests with an idempotency key by outcome, and when the next API key expires."""
    for outcome, count in idempotency.snapshot().items():
        yield catalogue.KEYED_REQUESTS, (outcome.value,), count
    if keys is None:
        return
    ring = keys.ring
    yield catalogue.KEYS, (), len(ring)
    if (expiry := ring.next_expiry(time.time())) is not None:
        yield catalogue.KEYS_EXPIRY, (), expiry
