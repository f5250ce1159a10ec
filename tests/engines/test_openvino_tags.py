"""Tags: the pipeline's hash differs unless key and secret agree, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("openvino_genai")

from silkline.engines.openvino.served import BLOCK_TOKENS
from silkline.engines.openvino.tags import Tagger

STRIDE, NUMBERS = 50, 10
"""What GenAI's hash takes of an embedding."""


def hashed(embeddings: NDArray[np.float32], block: int) -> bytes:
    rows = embeddings[0, block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS]
    return rows[:, ::STRIDE][:, :NUMBERS].tobytes()


def tagged(tagger: Tagger, keys: list[bytes], tokens: int, width: int) -> NDArray[np.float32]:
    embeddings = np.random.default_rng(7).normal(size=(1, tokens, width)).astype(np.float32)
    tagger.tag(embeddings, keys)
    return embeddings


@given(st.integers(1, 100), st.integers(1, 130))
def test_a_number_changes_by_no_more_than_rounding(tokens: int, width: int) -> None:
    keys = [bytes([index]) for index in range((tokens - 1) // BLOCK_TOKENS)]
    before = np.random.default_rng(7).normal(size=(1, tokens, width)).astype(np.float32)
    after = tagged(Tagger(), keys, tokens, width)
    assert not np.any((before.view(np.uint32) ^ after.view(np.uint32)) & ~np.uint32(3))


@pytest.mark.parametrize("width", [192, 576])
def test_only_blocks_of_the_same_key_are_the_same_to_the_pipeline(width: int) -> None:
    tagger = Tagger()
    one, again = (tagged(tagger, [b"a", b"b"], 80, width) for _ in range(2))
    other = tagged(tagger, [b"a", b"c"], 80, width)
    elsewhere = tagged(Tagger(), [b"a", b"b"], 80, width)
    assert [hashed(one, block) == hashed(again, block) for block in range(3)] == [True, True, False]
    assert [hashed(one, block) == hashed(other, block) for block in range(2)] == [True, False]
    assert not any(hashed(one, block) == hashed(elsewhere, block) for block in range(2))


def test_what_has_no_key_is_tagged_anew_each_time() -> None:
    tagger = Tagger()
    one, again = (tagged(tagger, [], 10, 192) for _ in range(2))
    assert all(
        row.tobytes() != other.tobytes() for row, other in zip(one[0], again[0], strict=True)
    )
