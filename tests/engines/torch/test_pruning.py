"""Which image tokens stay: against a plain reference, and what holds for every method."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.engines.torch.pruning import pruned_features, query_of
from silkline.models.pruning import Method
from tests.engines import pruning_reference as reference

WIDTH = 24


def drawn(seed: int, count: int, width: int = WIDTH) -> torch.Tensor:
    """Features in few directions, as those of an image are."""
    dice = torch.Generator().manual_seed(seed)
    bases = torch.randn(max(2, count // 3), width, generator=dice)
    mixed = torch.rand(count, len(bases), generator=dice) ** 4 @ bases
    return mixed + 0.1 * torch.randn(count, width, generator=dice)


def chosen(method: Method, features: torch.Tensor, kept: int, text: torch.Tensor) -> list[int]:
    _, indices = pruned_features(features, kept, method, query_of(text), text.shape[1])
    return [int(index) for index in indices]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kept", [1, 2, 9, 17])
def test_the_choice_is_that_of_the_formula(seed: int, kept: int) -> None:
    features, text = drawn(seed, 18), drawn(seed + 100, 5)
    rows, words = features.double().numpy(), text.double().numpy()
    assert chosen(Method.DIVPRUNE, features, kept, text) == reference.divprune(rows, kept)
    assert chosen(Method.CDPRUNER, features, kept, text) == reference.cdpruner(rows, kept, words)
    assert chosen(Method.ADAPTIVE, features, kept, text) == reference.adaptive(rows, kept, words)
    values, indices = pruned_features(features, kept, Method.MERGE, query_of(text), WIDTH)
    expected, places = reference.merge(rows, kept)
    assert indices.tolist() == places
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    method=st.sampled_from(list(Method)),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 40),
    share=st.floats(0.01, 1),
    added=st.integers(0, 5),
)
def test_as_many_stay_as_were_asked_in_their_order(
    method: Method, seed: int, count: int, share: float, added: int
) -> None:
    kept = max(1, round(share * count))
    features = drawn(seed, count, WIDTH + added)
    text = drawn(seed + 1, 4)
    values, indices = pruned_features(features, kept, method, query_of(text), WIDTH)
    assert values.shape == (kept, WIDTH + added)
    assert torch.isfinite(values).all()
    places = indices.tolist()
    assert places == sorted(set(places))
    assert places[0] >= 0
    assert places[-1] < count
    if method is not Method.MERGE:
        torch.testing.assert_close(values, features[indices])


@pytest.mark.parametrize("method", [each for each in Method if each is not Method.MERGE])
def test_features_that_are_all_the_same_are_no_trouble(method: Method) -> None:
    same = torch.ones(12, WIDTH)
    for features in (same, torch.zeros(12, WIDTH)):
        assert len(set(chosen(method, features, 6, same[:3]))) == 6


@pytest.mark.parametrize("method", [Method.DIVPRUNE, Method.CDPRUNER, Method.ADAPTIVE])
def test_the_length_of_features_and_text_does_not_matter(method: Method) -> None:
    features, text = drawn(3, 30), drawn(4, 5)
    lengths = torch.linspace(0.5, 8, 30).unsqueeze(1)
    assert chosen(method, features * lengths, 11, 3 * text) == chosen(method, features, 11, text)


@pytest.mark.parametrize("method", [Method.DIVPRUNE, Method.CDPRUNER, Method.ADAPTIVE])
def test_the_order_of_features_does_not_matter(method: Method) -> None:
    features, text = drawn(5, 30), drawn(6, 5)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    shuffled = chosen(method, features[order], 11, text)
    assert sorted(order[shuffled].tolist()) == chosen(method, features, 11, text)


def test_one_of_each_of_several_equal_features_stays_first() -> None:
    distinct, text = torch.eye(6, WIDTH), torch.ones(1, WIDTH)
    features = distinct.repeat_interleave(4, 0)
    for method in (Method.DIVPRUNE, Method.CDPRUNER, Method.ADAPTIVE):
        places = chosen(method, features, 6, text)
        assert sorted(each // 4 for each in places) == list(range(6)), method


def test_the_prompt_decides_where_a_method_says_so() -> None:
    features = drawn(7, 40)
    first, second = drawn(8, 3), drawn(9, 3)
    for method in Method:
        same = chosen(method, features, 8, first) == chosen(method, features, 8, second)
        assert same is not method.needs_prompt, method


def test_merging_keeps_the_mean() -> None:
    """Each token counts once, however many rounds it is merged in."""
    features = drawn(2, 32)
    values, _ = pruned_features(features, 16, Method.MERGE, query_of(features), WIDTH)
    sizes = 2.0  # one round merges every source into a target; together they weigh the same
    whole, _ = pruned_features(features, 1, Method.MERGE, query_of(features), WIDTH)
    torch.testing.assert_close(whole[0], features.mean(0), rtol=1e-4, atol=1e-5)
    assert len(values) * sizes == len(features)
