"""The benchmark for a card: its steps, its time, and its report, on the CPU."""

import time
from pathlib import Path

import pytest

from benchmarks import cuda
from benchmarks.cuda import Place, Report, markdown, run
from benchmarks.engines_model import Size

PLACE = Place("cpu", Path(), Size(), 1)


def test_steps_that_do_not_fit_are_named_and_failures_lose_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(place: Place) -> list[tuple[str, str]]:
        raise RuntimeError("out of memory")

    steps = {
        "long": (lambda place: [("never", "measured")], 100.0),
        "bad": (failing, 1.0),
        "good": (lambda place: [(f"on {place.device}", "7")], 1.0),
    }
    monkeypatch.setattr(cuda, "STEPS", steps)
    rows = run(list(steps), PLACE, time.monotonic() + 50)
    told = {(row.step, row.what): row.found for row in rows if row.what != "took"}
    assert told["bad", "failed"] == "RuntimeError: out of memory"
    assert told["good", "on cpu"] == "7"
    assert "it takes up to 100 s" in told["long", "not measured"]
    assert set(told) == {("bad", "failed"), ("good", "on cpu"), ("long", "not measured")}
    text = markdown(Report("cmd", "2026-01-01", "a card", {}, {}, 3.0, rows))
    assert "| good | on cpu | 7 |" in text


def test_all_steps_fit_into_eight_minutes() -> None:
    assert sum(seconds for _, seconds in cuda.STEPS.values()) <= 450


@pytest.mark.slow
def test_quantised_models_run_as_on_a_card(tmp_path: Path) -> None:
    place = Place("cpu", tmp_path, cuda.SMALL, 1)
    rows = dict(cuda.quantised(place))
    assert set(rows) == set(cuda.SCHEMES)
    assert all("answers a second" in found for found in rows.values())
    assert "quantised layers: 14" in rows["w8a8"]
