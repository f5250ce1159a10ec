"""The engine benchmark's arithmetic, and its cells through a real child with a stand-in engine."""

from typing import Any

import pytest

from benchmarks.engines import AIMS, arrivals, markdown, report
from benchmarks.engines_subject import BATCH, picture, serve_static


def cell(rate: float, latency: float = 1.0) -> dict[str, Any]:
    return {
        "seconds": BATCH / rate,
        "computed": 2.0 * BATCH / rate,
        "latencies": [latency] * BATCH,
        "tokens": [32] * BATCH,
    }


def test_ratios_compare_within_a_round_and_name_the_aim() -> None:
    measured = {
        "openvino": [cell(2.0), cell(4.0), cell(3.0)],
        "genai": [cell(1.0), cell(2.5), cell(2.0)],
    }
    made = report(measured, AIMS, "16 at a time")
    (ratio,) = made.ratios
    assert (ratio.one, ratio.other, ratio.aim) == ("openvino", "genai", 1.35)
    assert (ratio.ratio.least, ratio.ratio.median, ratio.ratio.most) == (1.5, 1.6, 2.0)
    assert made.found[0].rate.median == 3.0
    assert made.found[0].computed == pytest.approx(2 / 3, abs=0.001)
    text = markdown(made)
    assert "| Silkline, engine openvino | 3.00 (2.00, 4.00) | 1.00 | 0.67 |" in text
    assert "1.60 (1.50, 2.00) | 1.35 |" in text


def test_requests_arrive_at_random_at_the_rate_that_is_asked() -> None:
    first = arrivals(100.0, 1)
    assert first == arrivals(100.0, 1) != arrivals(100.0, 2)
    assert first == sorted(first)
    assert 0.05 < first[-1] < 1.0


def test_every_picture_is_another() -> None:
    seen = {picture(number).tobytes() for number in range(20)}
    assert len(seen) == 20
    assert picture(3).tobytes() == picture(3).tobytes()


def test_a_static_server_takes_all_that_wait_as_one_batch() -> None:
    batches = []

    def answer(pictures: Any) -> list[int]:
        batches.append(len(pictures))
        return [32] * len(pictures)

    told = serve_static(answer, {"first": 0, "many": 20, "arrivals": [0.0] * 20})
    assert batches == [16, 4]
    assert len(told["latencies"]) == len(told["tokens"]) == 20
    late = serve_static(answer, {"first": 0, "many": 3, "arrivals": [0.0, 0.0, 0.05]})
    assert batches[2:] == [2, 1]
    assert late["seconds"] >= 0.05
    assert max(late["latencies"]) < 10
