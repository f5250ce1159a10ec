from __future__ import annotations

import pytest

from silkline.report.numbers import mebibytes, span


@pytest.mark.parametrize(
    ("seconds", "label"),
    [
        (0.0, "0 µs"),
        (0.00025, "250 µs"),
        (0.9997, "1 s"),
        (0.34, "340 ms"),
        (1.234, "1.23 s"),
        (59.96, "1 min"),
        (240.0, "4 min"),
        (5400.0, "1 h 30 min"),
    ],
)
def test_a_time_has_the_unit_that_suits_it(seconds: float, label: str) -> None:
    assert span(seconds) == label


def test_bytes_are_in_mebibytes() -> None:
    assert (mebibytes(1024**2), mebibytes(0), mebibytes(1.55 * 1024**2)) == (
        "1.0 MiB",
        "0.0 MiB",
        "1.6 MiB",
    )
