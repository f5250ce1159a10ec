"""The guide's claims: what is compared with what, and what is said where nothing was measured."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import attention, guide
from benchmarks.attention import Case, Measured
from benchmarks.figures import spread
from benchmarks.guide import (
    Report,
    Sides,
    attention_rows,
    loss_row,
    markdown,
    questions,
    size_row,
    speed_rows,
    student_row,
)
from silkline.models.resolve import BUNDLED_MODEL, bundled_folder

MINI = Sides(BUNDLED_MODEL, bundled_folder(), bundled_folder(), bundled_folder())


def rates(**changed: list[float]) -> dict[tuple[str, int], list[float]]:
    found = {"int8_16": [40.0, 50.0], "int8_1": [10.0, 10.0], "fp32_16": [20.0, 20.0],
             "transformers_16": [8.0, 12.0]} | changed  # fmt: skip
    return {(name.split("_")[0], int(name.split("_")[1])): rate for name, rate in found.items()}


def record(verdict: str, drop: float | None = 0.1, level: float = 96.0) -> dict[str, Any]:
    reason = "0.10 points lost on 4096 items"
    return {
        "items": 4096,
        "images": 4096,
        "findings": [
            {"verdict": verdict, "reason": reason, "value": drop},
            {"verdict": "passed", "reason": "", "value": level},
        ],
    }


def test_rates_are_compared_within_their_rounds() -> None:
    transformers, same, batching = speed_rows(rates())
    assert transformers.ours == "4.58 (4.17 to 5.00)"
    assert same.ours == "2.25 (2.00 to 2.50)"
    assert batching.ours == "4.50 (4.00 to 5.00)"
    assert (transformers.reached, same.reached, batching.reached) == (True, True, True)
    slow = speed_rows(rates(int8_16=[16.0, 16.0]))
    assert [row.reached for row in slow] == [False, False, False]


@pytest.mark.parametrize(
    ("verdict", "reached"), [("passed", True), ("refused", False), ("undecided", None)]
)
def test_a_loss_that_is_not_shown_is_not_reached(verdict: str, reached: bool | None) -> None:
    row = loss_row(record(verdict))
    assert row.reached is reached
    assert "4096 items" in row.how
    assert row.ours == "0.10 points lost on 4096 items"


def test_the_size_is_that_of_what_the_engine_loads() -> None:
    row = size_row(MINI)
    small = sum(file.stat().st_size for file in (bundled_folder() / "openvino").glob("*.bin"))
    assert f"({small / 2**20:.1f} of 16.1 MiB)" in row.ours
    assert row.reached is (small / 16_918_272 <= 0.25)


def test_time_and_memory_of_attention_are_those_of_a_thousand_tokens() -> None:
    asked: list[Case] = []

    def measure(case: Case, device: str) -> attention.Row:
        asked.append(case)
        rounds = [{"eager": Measured(2.0, 1000), "sdpa": Measured(1.0, 600)}]
        return attention.Row(case, rounds, spread([2.0]))

    faster, memory = attention_rows("cpu", measure)
    assert (asked[0].tokens, asked[0].dtype) == (1024, "float32")
    assert (faster.ours, faster.reached) == ("2.00 (2.00 to 2.00)", True)
    assert memory.ours.startswith("60% ")
    assert memory.reached is False


def test_a_student_is_held_against_its_teacher(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = student_row(None, MINI, "x", tmp_path)
    assert row.ours == "not measured: no student was given by --student"
    assert row.reached is None
    monkeypatch.setattr(guide, "gate", lambda *_: record("passed", 4.0, 96.0))
    row = student_row(bundled_folder(), MINI, "x", tmp_path)
    assert row.ours == "100%, 96.0%"
    assert row.reached is False  # as many parameters


def test_questions_that_were_not_taught_are_drawn_once(tmp_path: Path) -> None:
    path = Path(questions(BUNDLED_MODEL, "", tmp_path, 3))
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert "scene-11000064" in lines[0]  # the first ones are shipped
    assert questions(BUNDLED_MODEL, "", tmp_path, 3) == str(path)
    assert questions("mine", "mine.jsonl", tmp_path, 3) == "mine.jsonl"


def test_the_table_says_what_was_not_measured() -> None:
    rows = [*speed_rows(rates()), student_row(None, MINI, "", Path())]
    text = markdown(Report("cmd", "2026-01-01", {"processor": "p"}, {}, {"mine": rows}))
    assert "## mine" in text
    assert "| 4.58 (4.17 to 5.00) | yes |" in text
    assert "not measured: no student was given by --student | - |" in text
