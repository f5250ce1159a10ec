"""What a snapshot reads from the metrics' text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from silkline.core import Stage, Timeline, Usage
from silkline.gateway.live.snapshot import snapshot_of
from silkline.observe.metrics import Metrics

CHAT = "/v1/chat/completions"


def test_requests_for_answers_are_counted_and_no_others() -> None:
    metrics = Metrics()
    for route in (CHAT, "/predict", "/metrics", "console", "/admin/live", "/v1/models"):
        metrics.request_ended(route, 200, "hit", "mini", 0.02)
    metrics.request_ended(CHAT, 503, "bypass", "mini", 0.3)
    metrics.failed(CHAT, "overloaded")
    metrics.failed("/admin/models", "forbidden")
    seen = snapshot_of(metrics.render(), at=7.0)
    assert seen.at == 7.0
    assert seen.requests == {"200": 2, "503": 1}
    assert seen.cache == {"hit": 2, "bypass": 1}
    assert seen.errors == {"overloaded": 1}
    assert (seen.latency["0.01"], seen.latency["0.025"], seen.latency["+Inf"]) == (0, 2, 3)


def test_stages_and_tokens_add_up() -> None:
    metrics = Metrics()
    for seconds in (0.1, 0.3):
        metrics.answered("mini", Usage(10, 5, 4), Timeline({Stage.PREFILL: seconds}))
    seen = snapshot_of(metrics.render(), at=0)
    assert seen.stages["prefill"] == [0.4, 2]
    assert seen.tokens == {"prompt": 20, "image": 8, "cached": 0, "completion": 10}


def test_families_of_parts_are_read_by_model_replica_tier_and_tenant() -> None:
    hostile = 'a "b"\\c\n{x="y"} 1'
    text = b"""
silkline_queue_waiting{model="mini"} 3.0
silkline_queue_capacity{model="mini"} 16.0
silkline_replica_ready{model="mini",replica="worker-0"} 1.0
silkline_replica_given_requests_total{model="mini",replica="worker-0"} 9.0
silkline_model_loaded{model="mini"} 0.0
silkline_cache_reads_total{tier="memory",outcome="hit"} 5.0
silkline_cache_bytes{tier="memory"} 1.5e+06
silkline_cache_near_hits_total 2.0
silkline_admitted_total{model="mini",tenant="shop"} 4.0
silkline_admitted_total{model="big",tenant="shop"} 1.0
silkline_refused_total{model="mini",tenant="shop",reason="rate"} 2.0
silkline_open_requests 6.0
other_total 1.0
"""
    registry = CollectorRegistry()
    Gauge("silkline_queue_running", "x", ["model"], registry=registry).labels(hostile).set(2)
    seen = snapshot_of(text + generate_latest(registry), at=0)
    assert seen.queues == {"mini": {"waiting": 3, "capacity": 16}, hostile: {"running": 2}}
    assert seen.replicas == {"mini": {"worker-0": {"ready": 1, "given_requests": 9}}}
    assert seen.loaded == {"mini": False}
    assert seen.tiers == {"memory": {"hit": 5, "bytes": 1.5e6}}
    assert seen.near == {"hits": 2}
    assert seen.tenants == {"shop": {"admitted": 5, "rate": 2}}
    assert seen.open_requests == 6


def test_histograms_of_parts_are_not_read() -> None:
    metrics = Metrics()
    metrics.cache_hit("memory", 3.0)
    text = metrics.render() + b'silkline_cache_bytes{tier="memory"} 7.0\n'
    assert snapshot_of(text, at=0).tiers == {"memory": {"bytes": 7}}
