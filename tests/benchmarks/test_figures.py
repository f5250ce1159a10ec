from __future__ import annotations

import pytest

from benchmarks.closed_loop import Asked, Measured, Reply
from benchmarks.figures import agreement, figures, spread


def measured(*times: tuple[float, float], window: float = 10.0, status: int = 200) -> Measured:
    asked = [
        Asked(number, began, ended, Reply(status, "mug", 3))
        for number, (began, ended) in enumerate(times)
    ]
    return Measured(window, asked, cpu_seconds=1.0, wall_seconds=20.0)


def test_requests_count_by_their_share_of_the_window() -> None:
    found = figures(measured((-1, 1), (2, 4), (9, 11), (11, 12)), {"gateway": 0.4})

    assert found.rate == pytest.approx((0.5 + 1 + 0.5) / 10)
    assert found.tokens_rate == pytest.approx(3 * found.rate)
    assert found.requests == 2
    assert found.p50 == pytest.approx(2000)
    assert found.cpu_ms == {"gateway": pytest.approx(100)}
    assert found.client_cpu == pytest.approx(0.05)


def test_errors_are_no_answers() -> None:
    found = figures(measured((1, 2), (3, 4), status=503), {})

    assert (found.errors, found.requests, found.rate, found.p50) == (2, 0, 0, 0)


def test_agreement_is_over_pictures_that_both_saw() -> None:
    assert agreement({1: "mug", 2: "lamp", 3: "hat"}, {1: "mug", 2: "vase", 9: "hat"}) == (0.5, 2)
    assert agreement({}, {1: "mug"}) == (0, 0)


def test_spread_shows_median_and_ends() -> None:
    assert f"{spread([0.9, 1.0, 0.8]):.2f}" == "0.90 (0.80 to 1.00)"
