"""The choice between ways to attend."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from silkline.engines.torch import attention_choice as choosing
from silkline.engines.torch.attention import Score, eager, sdpa
from silkline.engines.torch.attention_choice import Chosen, Sizes, choose
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


def test_what_wins_on_short_prompts_alone_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spelled-out scores grow with the square of a prompt, in time and in memory."""

    def eager(query: torch.Tensor, key: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        time.sleep(0.0 if key.shape[2] <= 2 * SIZES.chunk else 0.02)
        return query

    monkeypatch.setattr(choosing, "SCORES", {"sdpa": taking(lambda _: 0.002), "eager": eager})
    assert choose("auto", SIZES, LIKE).prefill is choosing.SCORES["sdpa"]


def refusing(error: Exception) -> Score:
    """A kernel that is not there for this type, shape or device."""

    def score(*_: object, **__: object) -> torch.Tensor:
        raise error

    return score


@pytest.mark.parametrize(("refused", "taken"), [("sdpa", "eager"), ("eager", "sdpa")])
def test_a_way_that_does_not_work_here_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, refused: str, taken: str
) -> None:
    works = taking(lambda _: 0.0)
    ways = {refused: refusing(NotImplementedError("no kernel for this type")), taken: works}
    monkeypatch.setattr(choosing, "SCORES", ways)
    assert choose("auto", SIZES, LIKE) == Chosen(works, works)


def test_a_model_starts_where_there_is_no_memory_to_measure() -> None:
    assert choose("auto", replace(SIZES, length=1 << 50), LIKE).decode is sdpa


def test_a_device_that_fails_is_no_matter_of_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = refusing(torch.AcceleratorError("the device has failed"))
    monkeypatch.setattr(choosing, "SCORES", {"sdpa": failed, "eager": eager})
    with pytest.raises(torch.AcceleratorError):
        choose("auto", SIZES, LIKE)


def test_slow_ways_are_measured_in_turns_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def noted(name: str) -> Score:
        def score(query: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            turns.append(name)
            return query

        return score

    monkeypatch.setattr(choosing, "SCORES", {name: noted(name) for name in ("sdpa", "eager")})
    monkeypatch.setattr(choosing, "_TRIAL_SECONDS", 0.0)
    choose("auto", SIZES, LIKE)
    assert turns[-4:] == ["sdpa", "eager"] * 2
    assert len(turns) == 16, "a first turn that does not count, and one that does: 3 + 1 calls each"


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
