"""What the public tests of other evaluation suites hold right, and where scores differ on purpose.

Each case of `public_cases.jsonl` is a fact from the named file or issue of another project: an
answer, what it is held against, and the right score there. Sentences are worded anew.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import msgspec
import pytest

from silkline.evaluate.metrics.catalogue import METRICS
from tests.evaluate.items import item

CASES: list[dict[str, Any]] = [
    msgspec.json.decode(line)
    for line in (Path(__file__).parent / "public_cases.jsonl").read_bytes().splitlines()
]
DIFFERENT = sum("why" in case for case in CASES)
DOCS = Path(__file__).parents[2] / "docs" / "evaluate.md"


def score(case: dict[str, Any]) -> float | str:
    """The score of an answer; of one that chooses, the letter that it is right for."""
    values = METRICS[case["metric"]].score
    if "choices" not in case:
        return values([item(*case["references"])], [case["answer"]])[0]
    letters = zip(string.ascii_uppercase, case["choices"], strict=False)
    items = {letter: item(text, choices=case["choices"]) for letter, text in letters}
    right = [letter for letter, one in items.items() if values([one], [case["answer"]]) == [1]]
    return "".join(right)


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{n}-{c['answer'][:30]}" for n, c in enumerate(CASES)]
)
def test_a_public_case(case: dict[str, Any]) -> None:
    if case["metric"] == "anls":
        pytest.importorskip("rapidfuzz")
    theirs = case["names"] if "choices" in case else case["score"]
    assert score(case) == pytest.approx(case.get("here", theirs))
    assert case.get("here") != theirs


def test_the_docs_tell_how_many_there_are_and_each_reason_to_differ() -> None:
    docs = " ".join(DOCS.read_text(encoding="utf-8").split())
    assert f"{len(CASES)} cases, {DIFFERENT} of which differ on purpose" in docs
    for reason in {case["why"] for case in CASES if "why" in case}:
        assert reason in docs.replace("`", "")
