"""What every engine makes of how a request wants to be answered."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import Feature, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.sampling import (
    SAMPLING_FEATURES,
    SEED_BITS,
    answer_room,
    check_biases,
    seed_of,
)
from silkline.errors import InvalidRequest
from silkline.models.resolve import bundled_folder


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


def test_a_bias_of_a_token_that_the_model_lacks_is_refused() -> None:
    check_biases(Sampling(logit_bias=((9, 1.0),)), 10)
    with pytest.raises(InvalidRequest, match=r"the token 10, but .* 0 to 9") as told:
        check_biases(Sampling(logit_bias=((3, 1.0), (10, 1.0))), 10)
    assert told.value.param == "logit_bias"


def test_the_page_lists_what_each_engine_declares() -> None:
    """The page's table has a row for each feature of sampling, and a column for each engine."""
    pytest.importorskip("openvino_genai")
    page = Path(__file__).parents[2] / "docs" / "sampling.md"
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \|$", page.read_text(), re.M)
    listed = {
        engine: {Feature(row[0]) for row in rows if row[column] == "yes"}
        for column, engine in enumerate(("fake", "openvino", "torch"), 1)
    }
    assert {Feature(row[0]) for row in rows} == SAMPLING_FEATURES
    options = EngineOptions(model=bundled_folder())
    for engine in ("fake", "openvino"):
        declared = create_engine(engine, options).info.features
        assert declared & SAMPLING_FEATURES == listed[engine]
    assert listed["torch"] == SAMPLING_FEATURES
