"""Penalties, biases and forbidden tokens, against plain numpy."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from silkline.core import Sampling
from silkline.engines.torch.penalties import penalised, penalties
from silkline.engines.torch.sampling import Draw, choose

SIZE = 12
tokens = st.integers(0, SIZE - 1)
penalty = st.sampled_from([-2.0, -0.5, 0.0, 1.0, 2.0])
samplings = st.builds(
    Sampling,
    frequency_penalty=penalty,
    presence_penalty=penalty,
    repetition_penalty=st.sampled_from([0.5, 1.0, 1.3, 3.0]),
    logit_bias=st.dictionaries(tokens, st.floats(-100, 100, width=32), max_size=3).map(
        lambda biases: tuple(sorted(biases.items()))
    ),
    min_tokens=st.integers(0, 6),
)
rows_of = st.lists(
    st.tuples(
        st.lists(st.floats(-20, 20, width=32), min_size=SIZE, max_size=SIZE),
        samplings,
        st.lists(tokens, max_size=5),
        st.lists(tokens, max_size=8),
        st.frozensets(st.integers(0, 2 * SIZE), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def plainly(
    logits: list[float],
    sampling: Sampling,
    prompt: list[int],
    answer: list[int],
    ends: frozenset[int],
) -> NDArray[np.float64]:
    found = np.array(logits, np.float64)
    for token in set(prompt + answer):
        if found[token] > 0:
            found[token] /= sampling.repetition_penalty
        else:
            found[token] *= sampling.repetition_penalty
    for token, count in Counter(answer).items():
        found[token] -= sampling.frequency_penalty * count + sampling.presence_penalty
    for token, bias in sampling.logit_bias:
        found[token] += bias
    if len(answer) < sampling.min_tokens:
        for token in ends:
            if token < SIZE:
                found[token] = -math.inf
    return found


@given(rows=rows_of)
def test_penalties_are_those_of_plain_numpy(
    rows: list[tuple[list[float], Sampling, list[int], list[int], frozenset[int]]],
) -> None:
    made = []
    for _, sampling, prompt, answer, ends in rows:
        each = penalties(sampling, [*prompt, SIZE + 5], ends)
        for token in answer:
            if each is not None:
                each.add(token)
                if token % 2:  # as in a batch, there are steps in between
                    penalised(torch.zeros(1, SIZE), [each])
        made.append(each)
    logits = torch.tensor([row[0] for row in rows])
    before = logits.clone()
    changed = penalised(logits, made)
    assert torch.equal(logits, before)
    for index, row in enumerate(rows):
        expected = plainly(*row)
        assert np.allclose(changed[index].double().numpy(), expected, atol=1e-4)
        assert torch.equal(
            changed[index], penalised(logits[index : index + 1], made[index:][:1])[0]
        )


def test_without_penalties_nothing_is_copied() -> None:
    assert penalties(Sampling(temperature=1.0, top_k=3, min_p=0.1), (1, 2), frozenset({3})) is None
    logits = torch.zeros(2, SIZE)
    reached = penalties(Sampling(min_tokens=1), (), frozenset({3}))
    assert reached is not None
    reached.add(5)
    assert penalised(logits, [None, reached]) is logits


def test_the_prompt_is_read_once() -> None:
    class Prompt(frozenset[int]):
        reads = 0

        def __iter__(self) -> Iterator[int]:
            Prompt.reads += 1
            return super().__iter__()

    each = penalties(Sampling(repetition_penalty=2.0), (), frozenset())
    assert each is not None
    each.prompt = Prompt((1, 2))
    for token in (2, 3, 3, 4):
        each.add(token)
        penalised(torch.ones(1, SIZE), [each])
    assert penalised(torch.ones(1, SIZE), [each])[0].tolist() == [1, 0.5, 0.5, 0.5, 0.5, *[1] * 7]
    assert Prompt.reads == 1


@given(
    logits=st.lists(st.floats(-6, 6, width=32), min_size=SIZE, max_size=SIZE, unique=True),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 5, SIZE, 100]),
    top_p=st.sampled_from([0.2, 0.7, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_the_candidates_are_those_of_plain_numpy(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    scaled = np.array(logits) / temperature
    weights = np.exp(scaled - scaled.max())
    order = np.argsort(-weights, kind="stable")
    kept = order[: top_k or SIZE]
    sums = np.cumsum(weights[kept]) - weights[kept]
    share = sums / weights[kept].sum()
    inside = [token for token, before in zip(kept, share, strict=True) if before < top_p - 1e-5]
    perhaps = [token for token, before in zip(kept, share, strict=True) if before < top_p + 1e-5]
    inside = [token for token in inside if weights[token] >= min_p + 1e-5 or token == order[0]]
    perhaps = [token for token in perhaps if weights[token] >= min_p - 1e-5]
    chances = np.linspace(0, 0.9999, 400)
    draws = [Draw(temperature, top_p, float(chance), top_k, min_p) for chance in chances]
    found = choose(torch.tensor([logits]).expand(len(draws), -1), draws).tolist()
    total = sum(weights[token] for token in perhaps)
    likely = {int(token) for token in inside if weights[token] / total > 0.01}
    assert likely <= set(found) <= {int(token) for token in perhaps}
