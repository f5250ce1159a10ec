"""Sampling, against numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from silkline.core import Sampling
from silkline.engines.sampling import chance, seed_of
from silkline.engines.torch import sampling
from silkline.engines.torch.sampling import Draw

chances = st.floats(0, 1, exclude_max=True)


ROUNDING = 1e-5
"""Of sums of probabilities in float32."""


def expected(logits: NDArray[np.float32], draw: Draw) -> set[int]:
    """The same, one row at a time, in float64: the tokens that rounding leaves open."""
    if draw.temperature == 0:
        return {int(logits.argmax())}
    scaled = logits.astype(np.float64) / draw.temperature
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable") if draw.top_p < 1 else np.arange(len(weights))
    reached = np.cumsum(weights[order])
    tokens: set[int] = set()
    for top_p in (draw.top_p - ROUNDING, draw.top_p + ROUNDING):
        kept = len(order) if draw.top_p == 1 else int(np.searchsorted(reached, top_p)) + 1
        sums = reached[:kept]
        target = draw.chance * sums[-1]
        first, last = (
            min(int(np.searchsorted(sums, target + error, side="right")), len(sums) - 1)
            for error in (-ROUNDING, ROUNDING)
        )
        tokens.update(order[first : last + 1].tolist())
    return tokens


@given(
    st.integers(0, 2**32 - 1),
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 1.0, 2.0]), st.floats(0.05, 1.0), chances),
        min_size=1,
        max_size=8,
    ),
)
@example(0, [(0.3, 0.9999999999999999, 0.9999999999999999)])
@settings(deadline=None)
def test_it_takes_what_numpy_takes(seed: int, rows: list[tuple[float, float, float]]) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (len(rows), 50)).astype(np.float32)
    draws = [Draw(*row) for row in rows]
    ids = sampling.choose(torch.from_numpy(logits), draws).tolist()
    for token, row, draw in zip(ids, logits, draws, strict=True):
        assert token in expected(row, draw)


def test_a_row_does_not_depend_on_the_others() -> None:
    logits = torch.randn(6, 400, generator=torch.Generator().manual_seed(1))
    draws = [
        Draw(0.0),
        Draw(1.0, 0.9, 0.31),
        Draw(0.7, 1.0, 0.82),
        Draw(1.3, 0.4, 0.99),
        Draw(1.0, 1.0, 0.5),
        Draw(0.0),
    ]
    together = sampling.choose(logits, draws).tolist()
    alone = [
        sampling.choose(logits[row : row + 1], [draw]).item() for row, draw in enumerate(draws)
    ]
    assert together == alone


def test_what_is_forbidden_never_comes() -> None:
    logits = torch.full((1, 8), -math.inf)
    logits[0, 2] = logits[0, 5] = 0.0
    for top_p in (1.0, 0.99, 0.3):
        for drawn in (0.0, 0.4999, 0.5001, 1 - 2**-53):
            token = sampling.choose(logits, [Draw(1.0, top_p, drawn)]).item()
            assert token == (2 if top_p == 0.3 or drawn < 0.5 else 5)


def test_the_tiniest_temperature_is_greedy() -> None:
    logits = torch.tensor([[0.0, 50.0, 49.9]])
    assert sampling.choose(logits, [Draw(1e-9, 0.5, 0.99)]).item() == 1


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_tokens_come_as_often_as_they_should(top_p: float) -> None:
    weights = torch.tensor([0.4, 0.05, 0.3, 0.25])
    count = 4000
    draws = [Draw(1.0, top_p, chance(9, place)) for place in range(count)]
    ids = sampling.choose(weights.log().expand(count, -1), draws)
    shares = torch.bincount(ids, minlength=4) / count
    kept = weights if top_p == 1.0 else torch.tensor([0.4, 0.0, 0.3, 0.0])
    assert torch.allclose(shares, kept / kept.sum(), atol=0.04)


def test_seeds_and_places_give_other_chances() -> None:
    seeds = [seed_of(Sampling(seed=seed)) for seed in (-7, 0, 1, 2**63)]
    drawn = {chance(seed, place) for seed in seeds for place in range(100)}
    assert len(drawn) == 400
    assert all(0 <= each < 1 and float(np.float32(each)) == each for each in drawn)
    assert seeds[0] == 2**64 - 7


@pytest.mark.parametrize("draw", [Draw(0.0), Draw(1.0, 1.0, 0.5), Draw(1.0, 0.5, 0.5)])
def test_rows_without_numbers_get_no_token(draw: Draw) -> None:
    logits = torch.zeros(4, 6)
    logits[0, 3] = math.nan
    logits[1] = -math.inf
    logits[2, 1] = math.inf
    logits[3, 2] = 90.0
    ids = sampling.choose(logits, [draw] * 4).tolist()
    assert ids == [sampling.NO_TOKEN] * 3 + [2]
