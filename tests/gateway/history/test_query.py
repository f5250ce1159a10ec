"""What the parameters of `/admin/requests` mean."""

from __future__ import annotations

import time

import pytest

from silkline.errors import InvalidRequest
from silkline.gateway.history.query import Query, parse_query


def test_each_parameter_sets_its_filter() -> None:
    parameters = {
        "id": "a-1", "slow": "2.5", "error": "overloaded", "tenant": "acme", "model": "mini",
        "since": "1700000000", "cursor": "17", "limit": "3",
    }  # fmt: skip
    assert parse_query(parameters, slo=0) == Query(
        "a-1", 2.5, "overloaded", failed=False, tenant="acme", model="mini",
        since=1_700_000_000.0, before=17, limit=3,
    )  # fmt: skip
    assert parse_query({}, slo=0) == Query()


def test_slow_and_error_need_no_value() -> None:
    assert parse_query({"slow": "", "error": ""}, slo=0.42) == Query(slow=0.42, failed=True)
    assert parse_query({"slow": ""}, slo=0).slow == 1.0


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800)]
)
def test_since_may_be_a_duration(text: str, ago: float) -> None:
    since = parse_query({"since": text}, slo=0).since
    assert since is not None
    assert abs(time.time() - ago - since) < 60


def test_since_may_be_an_iso_time() -> None:
    for text in ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20", "2023-11-14T23:13:20+01:00"):
        assert parse_query({"since": text}, slo=0).since == 1_700_000_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("slow", "fast"), ("slow", "-1"), ("slow", "nan"), ("slow", "inf"),
        ("since", "yesterday"), ("since", "10 minutes"), ("since", "-5"),
        ("cursor", "x"), ("cursor", "-1"), ("cursor", "9" * 30),
        ("limit", "0"), ("limit", "501"), ("limit", "x"), ("limit", ""),
        ("tennant", "acme"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_query({name: text}, slo=0)
    assert refusal.value.param == name
