"""The benchmark of the torch engine's attention."""

import pytest

from benchmarks import attention
from benchmarks.attention import Case, Report, cases, compare, markdown


def test_both_ways_are_measured_at_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SECONDS", 0.01)
    for stage in ("prompt", "next tokens"):
        case = Case(model="llava-230m", stage=stage, dtype="float32", tokens=16)
        row = compare(case, "cpu")
        assert [set(found) for found in row.rounds] == [{"eager", "sdpa"}] * attention.ROUNDS
        assert all(one.seconds > 0 for found in row.rounds for one in found.values())
        assert row.times_faster.least > 0


def test_memory_is_what_the_call_holds() -> None:
    """All scores of 9 heads over 1,024 tokens are 36 MiB, and the fused kernel keeps none."""
    case = Case(model="llava-230m", stage="prompt", dtype="float32", tokens=1024)
    eager, sdpa = (attention.measure(case, way, "cpu") for way in ("eager", "sdpa"))
    assert eager.peak > 36 * 1024**2
    assert sdpa.peak < eager.peak / 2


@pytest.mark.slow
def test_the_report_has_a_row_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SECONDS", 0.01)
    case = next(cases(["bfloat16"]))
    report = Report("the command", "2026-01-01", "the CPU", {}, {}, [compare(case, "cpu")])
    assert "| llava-1.5-7b | bfloat16 | prompt | 512 |" in markdown(report)
