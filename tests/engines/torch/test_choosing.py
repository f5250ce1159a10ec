"""The choice between ways to attend."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from silkline.engines.torch import choosing
from silkline.engines.torch.attention import Score, eager, sdpa
from silkline.engines.torch.choosing import Chosen, Sizes, choose
from silkline.engines.torch.slots import LayerShape

SIZES = Sizes(LayerShape(2, 8, 4), heads=6, batch=3, length=20, chunk=7)
LIKE = torch.zeros(1)


@pytest.mark.parametrize(("asked", "score"), [("sdpa", sdpa), ("eager", eager)])
def test_what_is_asked_for_is_taken(asked: str, score: Score) -> None:
    assert choose(asked, SIZES, LIKE) == Chosen(score, score)


def taking(seconds_for: Callable[[int], float]) -> Score:
    """A way that takes its time, by the rows of a call: 7 in a prompt's piece, else next tokens."""

    def score(query: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        time.sleep(seconds_for(query.shape[2]))
        return query

    return score


def test_each_stage_takes_what_is_faster_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {
        "sdpa": taking(lambda rows: 0.002 if rows == SIZES.chunk else 0.02),
        "eager": taking(lambda rows: 0.02 if rows == SIZES.chunk else 0.002),
    }
    monkeypatch.setattr(choosing, "SCORES", ways)
    assert choose("auto", SIZES, LIKE) == Chosen(ways["sdpa"], ways["eager"])


def test_where_they_are_alike_the_one_that_keeps_no_scores_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = {name: taking(lambda _: 0.01) for name in ("eager", "sdpa")}
    monkeypatch.setattr(choosing, "SCORES", ways)
    assert choose("auto", SIZES, LIKE) == Chosen(ways["sdpa"], ways["sdpa"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_are_measured_on_what_they_agree_on(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """The calls are those of a model: both ways answer them, and alike."""
    seen: list[torch.Tensor] = []

    def compared(*args: Any, **named: Any) -> torch.Tensor:
        answer = sdpa(*args, **named)
        torch.testing.assert_close(answer, eager(*args, **named))
        seen.append(answer)
        return answer

    monkeypatch.setattr(choosing, "SCORES", {"sdpa": compared, "eager": compared})
    choose("auto", SIZES, LIKE.to(dtype))
    assert {tuple(answer.shape) for answer in seen} == {(1, 6, 7, 4), (3, 2, 3, 4)}
