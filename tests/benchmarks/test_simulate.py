"""The benchmark of the simulator: the same trace, and its report."""

import pytest

from benchmarks.simulate import Engine, Report, Row, markdown, options, simulated
from silkline.bench.spec import Arrivals
from silkline.plan.service_times import ServiceTimes

TIMES = ServiceTimes(prefill=0.05, step=0.01, answer_tokens=20, lengths=(20,), prepare=0.005)


def test_the_trace_is_simulated_with_the_measured_times() -> None:
    found = simulated(Engine(), TIMES, Arrivals(2.0, 30.0))
    assert found["in time"] == 1.0
    assert found["refused"] == 0.0
    assert found["mean, s"] == pytest.approx(TIMES.alone(), rel=0.2)


def test_the_real_server_gets_the_same_limits() -> None:
    given = options(Engine(workers=3, slo=0.5))
    assert given[given.index("--workers") + 1] == "3"
    assert given[given.index("--slo") + 1] == "0.5"


@pytest.mark.parametrize(("points", "verdict"), [(1.9, "within 2"), (-2.1, "NOT within 2")])
def test_the_report_says_whether_both_agree(points: float, verdict: str) -> None:
    rows = [Row("in time", 0.9, 0.9 + points / 100)]
    text = markdown(Report("c", "2026-01-01", {}, Engine(), TIMES, rows, points, 60.0))
    assert f"{points:+.2f} points, {verdict}" in text
