from __future__ import annotations

import pytest

from benchmarks.headline import held, highest
from benchmarks.headline_report import Headline, Side, markdown
from silkline.bench.summary import summarise
from tests.bench.runs import good_run, made_run, record


def side(rate: float, limit: float) -> Side:
    return Side(rate, 10, rate <= limit, summarise(good_run(), 0, 0.42), {"naive": 20.0})


@pytest.mark.parametrize("limit", [0.7, 7.9, 8.0, 30.0])
def test_the_search_ends_just_below_what_is_not_held(limit: float) -> None:
    steps = highest(lambda rate: side(rate, limit))
    best = max(step.rate for step in steps if step.held)
    worst = min(step.rate for step in steps if not step.held)
    assert best <= limit < worst
    assert worst == pytest.approx(best * 1.25)


def test_a_search_without_hope_ends() -> None:
    assert not any(step.held for step in highest(lambda rate: side(rate, 0)))


def test_one_failure_is_not_held() -> None:
    assert held(summarise(good_run(), 0, 0.42))
    assert not held(summarise(good_run(), 0, 0.005))
    failed = made_run(*good_run().records, record(100, status=503, code="overloaded"))
    assert not held(summarise(failed, 0, 0.42))


def test_the_report_has_both_sides() -> None:
    gateway, naive = side(139, 200), side(20, 20)
    report = Headline(
        command="python -m benchmarks.headline",
        date="2026-11-22",
        machine={"processor": "two cores"},
        model="silkline-mini@1",
        spec=good_run().spec,
        gateway=gateway,
        naive=naive,
        steps=[(20.0, True, 0.2), (25.0, False, 0.9)],
        burst_p99={"in bursts": 0.3},
    )
    text = markdown(report)
    for words in (
        "| gateway |",
        "| naive design, no bursts |",
        "in bursts: 300 ms",
        "| 25.0 | no |",
    ):
        assert words in text
