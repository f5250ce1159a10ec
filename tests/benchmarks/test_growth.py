"""The benchmark of growth: it runs, and it tells shapes apart."""

import pytest

from benchmarks.growth import SIZES, Report, Row, markdown, measure


@pytest.mark.slow
def test_it_measures_every_operation_at_every_size() -> None:
    rows = measure(dict.fromkeys(SIZES, (1, 2)), place=None)
    assert {row.grows for row in rows} == SIZES.keys() - {"open connections"}
    assert all(list(row.seconds) == [1, 2] and min(row.seconds.values()) >= 0 for row in rows)


@pytest.mark.parametrize(
    ("seconds", "shape"),
    [
        ({1: 10e-6, 10_000: 29e-6}, "flat"),
        ({1: 1e-3, 100: 1.9e-3}, "flat"),
        ({64: 1e-3, 256: 4e-3, 1024: 16e-3}, "linear"),
        ({1: 1e-3, 4: 1.3e-3, 16: 2.5e-3}, "linear"),
        ({1: 0.2e-3, 8: 1.7e-3, 32: 27e-3}, "**steeper**"),
    ],
)
def test_shapes_are_told_apart(seconds: dict[int, float], shape: str) -> None:
    row = Row("things", "do it", seconds)
    assert row.shape == shape
    assert shape in markdown(Report("command", "today", {}, [row]))
