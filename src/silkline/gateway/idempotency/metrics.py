"""Metrics of the idempotency layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from silkline.gateway.idempotency.layer import KeyOutcome


def key_metrics(snapshot: Mapping[KeyOutcome, int]) -> Iterable[Metric]:
    """Requests with a key, by outcome."""
    requests = CounterMetricFamily(
        "silkline_idempotency_requests", "Requests with a key, by outcome.", labels=["outcome"]
    )
    for outcome, count in snapshot.items():
        requests.add_metric([outcome.value], count)
    return (requests,)
