"""Baselines and windows: what counts as drift, and how seldom chance does."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from silkline.config import DriftSettings
from silkline.drift.baseline import (
    Feature,
    ModelBaseline,
    read_baselines,
    take_baseline,
    write_baseline,
)
from silkline.drift.bins import Categories
from silkline.drift.journal import Window
from silkline.drift.windows import Comparison, Windows
from silkline.errors import ConfigError
from tests.drift.seen import Traffic, drawn

HOUR = 3600.0
USUAL = Traffic()


def baseline_of(traffic: Traffic, count: int = 1_200, *, structured: bool = False) -> ModelBaseline:
    draw = Random(7)
    seen = [drawn(traffic, draw, structured=structured) for _ in range(count)]
    return take_baseline(seen, source="a test", at=0.0, part_requests=500)


@pytest.fixture(scope="module")
def usual() -> ModelBaseline:
    return baseline_of(USUAL)


@pytest.fixture(scope="module")
def structured() -> ModelBaseline:
    return baseline_of(USUAL, structured=True)


def window_of(
    baseline: ModelBaseline, traffic: Traffic, *, structured: bool = False, seed: int = 1
) -> Window:
    now = [0.0]
    windows = Windows(DriftSettings(), {"m": baseline}, clock=lambda: now[0])
    draw = Random(seed)
    for number in range(500):
        now[0] = number * 8.0
        windows.add("m", drawn(traffic, draw, structured=structured))
    return windows.last["m"]


def drifting(window: Window) -> set[str]:
    return {name for name, found in window.findings.items() if found.drifts}


def test_usual_traffic_does_not_drift(usual: ModelBaseline, structured: ModelBaseline) -> None:
    for seed in range(3):
        assert drifting(window_of(usual, USUAL, seed=seed)) == set()
        assert drifting(window_of(structured, USUAL, structured=True, seed=seed)) == set()


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        ({"formats": ("webp",)}, "format"),
        ({"brightness": 80}, "brightness"),
        ({"characters": 120}, "text_length"),
        ({"words": 20}, "answer_length"),
        ({"refused": 0.3}, "refusal"),
        ({"looks": (0xFFFF0000FFFF0000,)}, "look"),
        ({"looks": (0xFFFF0000FFFF0000,)}, "novelty"),
        ({"vocabulary": ("rouge", "bleu", "tasse")}, "vocabulary"),
        ({"edge": 1200}, "pixels"),
    ],
)
def test_a_change_of_traffic_or_answers_drifts(
    change: dict[str, Any], feature: str, usual: ModelBaseline
) -> None:
    assert feature in drifting(window_of(usual, dataclasses.replace(USUAL, **change)))


def test_a_change_of_field_values_drifts(structured: ModelBaseline) -> None:
    assert "field:title" not in structured.features  # free text has no usual values
    changed = dataclasses.replace(USUAL, colours=("red", "red", "red", "red", "blue"))
    window = window_of(structured, changed, structured=True)
    assert drifting(window) == {"field:colour", "vocabulary"}
    assert window.findings["field:colour"].moved[0][0] == "red"


def test_a_value_that_is_always_the_same_drifts_either_way() -> None:
    constant = baseline_of(dataclasses.replace(USUAL, formats=("png",)))
    seen = window_of(constant, dataclasses.replace(USUAL, formats=("png", "jpeg")))
    assert drifting(seen) == {"format"}


def test_a_window_ends_after_its_time_and_its_requests(usual: ModelBaseline) -> None:
    now = [0.0]
    settings = DriftSettings(drift_window=100, drift_min_requests=50)
    windows = Windows(settings, {"m": usual}, clock=lambda: now[0])
    draw = Random(2)
    for _ in range(80):
        windows.add("m", drawn(USUAL, draw))
    assert windows.last == {}
    now[0] = 101.0
    windows.add("m", drawn(USUAL, draw))
    assert (windows.last["m"].requests, windows.counts) == (81, {"m": 1})
    now[0] = 500.0
    windows.add("m", drawn(USUAL, draw))
    now[0] = 650.0
    windows.add("m", drawn(USUAL, draw))  # two requests are too few for a window
    assert windows.counts == {"m": 1}


def test_a_baseline_knows_how_much_its_own_parts_differ() -> None:
    draw = Random(3)
    night = dataclasses.replace(USUAL, characters=100)
    seen = [drawn(traffic, draw) for traffic in (USUAL, night) * 2 for _ in range(500)]
    found = take_baseline(seen, source="a test", at=0.0, part_requests=500)
    assert found.features["text_length"].spread > 0.25
    assert found.features["brightness"].spread < 0.1
    assert drifting(window_of(found, night)) == set()


def test_a_baseline_survives_its_file(tmp_path: Path, usual: ModelBaseline) -> None:
    path = tmp_path / "new" / "baseline.json"
    write_baseline(path, "one", usual)
    write_baseline(path, "two", usual)
    assert read_baselines(path) == {"one": usual, "two": usual}


@pytest.mark.parametrize("content", [b"", b"[]", b'{"m": {"source": 1}}', b"\xff"])
def test_a_file_without_a_baseline_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no baseline"):
        read_baselines(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_baselines(tmp_path / "none.json")


def test_too_few_requests_are_no_baseline() -> None:
    with pytest.raises(ConfigError, match="99 computed answers"):
        baseline_of(USUAL, 99)


def plain_baseline(draw: np.random.Generator, requests: int) -> tuple[ModelBaseline, list[Any]]:
    """A baseline of 18 features of 2 to 32 categories, and the true shares of each."""
    sizes = [2, 2, 3, 5, 8, *[12] * 8, 16, 16, 16, 16, 32]
    truth = [draw.dirichlet(np.ones(size)) for size in sizes]
    features = {
        str(number): Feature(
            Categories({str(value): value for value in range(len(shares) - 1)}),
            tuple(draw.multinomial(requests, shares).tolist()),
            0.0,
        )
        for number, shares in enumerate(truth)
    }
    return ModelBaseline("a simulation", 0.0, requests, (), features), truth


@pytest.mark.parametrize(
    "months", [1, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(0)])]
)
@pytest.mark.parametrize("index", [0.0, 0.25])
def test_chance_raises_few_false_alarms_in_30_days(months: int, index: float) -> None:
    """720 windows of 500 answers in each month, by the default settings or by chance alone."""
    draw = np.random.default_rng(49)
    comparison = Comparison(DriftSettings(drift_psi=index))
    alarms = 0
    for _ in range(months):
        baseline, truth = plain_baseline(draw, 1_000)
        windows = [draw.multinomial(500, shares, size=720).tolist() for shares in truth]
        for number in range(720):
            counts = {str(name): found[number] for name, found in enumerate(windows)}
            findings = comparison.findings(baseline, counts)
            alarms += any(found.drifts for found in findings.values())
    print(f"{alarms} false alarms in {months} months, index {index}")  # noqa: T201 - for the docs
    assert alarms <= 1 + months * 0.2


@pytest.mark.full
@pytest.mark.timeout(0)
def test_days_and_nights_raise_few_false_alarms_in_30_days() -> None:
    """Traffic that differs by the hour, and a baseline of seven days of it."""
    draw, alarms, months = Random(5), 0, 10
    for _ in range(months):
        seen = [drawn(_at(hour), draw) for hour in range(7 * 24) for _ in range(500)]
        baseline = take_baseline(seen, source="a week", at=0.0, part_requests=500)
        alarms += sum(bool(drifting(window)) for window in _month(baseline, draw))
    print(f"{alarms} false alarms in {months} months of days and nights")  # noqa: T201
    assert alarms <= months


def _month(baseline: ModelBaseline, draw: Random) -> list[Window]:
    now = [0.0]
    windows = Windows(DriftSettings(), {"m": baseline}, clock=lambda: now[0])
    for hour in range(30 * 24):
        for number in range(500):
            now[0] = hour * HOUR + number * 7.3
            windows.add("m", drawn(_at(hour), draw))
    return windows.ended


def _at(hour: int) -> Traffic:
    light = math.cos(2 * math.pi * hour / 24)
    return dataclasses.replace(
        USUAL, brightness=140 + 20 * light, characters=60 + 15 * light, words=12 + 2 * light
    )
