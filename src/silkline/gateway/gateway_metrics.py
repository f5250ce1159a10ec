"""Metrics of what only the gateway has: idempotency keys, API keys, experiments, batches."""

from __future__ import annotations

import time
from collections.abc import Iterator

from silkline.drift.drift import Drift
from silkline.experiments.running import Experiments
from silkline.gateway.batches.create import BatchApi
from silkline.gateway.idempotency.layer import IdempotencyLayer
from silkline.gateway.keys_file import KeysFile
from silkline.observe import catalogue
from silkline.observe.declared import Reading


def gateway_readings(
    idempotency: IdempotencyLayer,
    keys: KeysFile | None,
    experiments: Experiments,
    drift: Drift,
    batch: BatchApi,
) -> Iterator[Reading]:
    """Keyed requests by outcome, experiments, drift, batches, and when an API key expires next."""
    yield from experiments.readings()
    yield from drift.readings()
    yield from batch.readings()
    for outcome, count in idempotency.snapshot().items():
        yield catalogue.KEYED_REQUESTS, (outcome.value,), count
    if keys is None:
        return
    ring = keys.ring
    yield catalogue.KEYS, (), len(ring)
    if (expiry := ring.next_expiry(time.time())) is not None:
        yield catalogue.KEYS_EXPIRY, (), expiry
