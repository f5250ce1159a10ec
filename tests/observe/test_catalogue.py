"""The metrics that are declared: their names, and how processes merge them."""

import re

import pytest

from silkline.observe.catalogue import ALL, MERGED_BY
from silkline.observe.declared import Declared, Kind

UNITS = ("seconds", "bytes", "ratio", "watts", "celsius", "tokens", "pixels")
UNBOUNDED = {"id", "request", "request_id", "key", "path", "url", "user", "client"}


def test_there_is_each_name_once() -> None:
    names = [metric.name for metric in ALL]
    assert len(names) == len(set(names)) > 80


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_metric_is_well_named(metric: Declared) -> None:
    assert re.fullmatch(r"silkline_[a-z0-9]+(_[a-z0-9]+)*", metric.name)
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    assert metric.about.endswith(".")
    assert not UNBOUNDED & set(metric.labels)
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith(UNITS)
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_rules_are_known_by_the_names_of_families() -> None:
    assert MERGED_BY["silkline_replica_restarts",] is max
    assert MERGED_BY["silkline_requests",] is sum
    assert MERGED_BY["silkline_cache_bytes", "redis"] is max
    assert MERGED_BY["silkline_cache_bytes",] is sum
