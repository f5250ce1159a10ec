"""What every engine makes of how a request wants to be answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import Sampling
from silkline.engines.sampling import SEED_BITS, answer_room, seed_of
from silkline.errors import InvalidRequest


@given(st.integers())
def test_a_seed_fits_and_is_the_same_one_each_time(seed: int) -> None:
    found = seed_of(Sampling(seed=seed))
    assert 0 <= found < 1 << SEED_BITS
    assert found == seed_of(Sampling(seed=seed))
    assert (found - seed) % (1 << SEED_BITS) == 0


def test_without_a_seed_there_is_another_one_each_time() -> None:
    drawn = {seed_of(Sampling(seed=None)) for _ in range(20)}
    assert len(drawn) == 20
    assert all(0 <= seed < 1 << SEED_BITS for seed in drawn)


def test_an_answer_has_the_room_that_its_prompt_leaves() -> None:
    assert answer_room(700, 1000) == 300
    assert answer_room(999, 1000) == 1
    for prompt in (1000, 1700):
        with pytest.raises(InvalidRequest, match=f"has {prompt} tokens, .* may have 1000") as told:
            answer_room(prompt, 1000)
        assert told.value.param == "messages"
