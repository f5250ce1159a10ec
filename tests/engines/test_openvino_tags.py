"""Tags: the pipeline's hash differs unless the keys agree, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("openvino_genai")

from silkline.engines.openvino.served import BLOCK_TOKENS
from silkline.engines.openvino.tags import tag

STRIDE, NUMBERS = 50, 10
"""What GenAI's hash takes of an embedding."""


def hashed(embeddings: NDArray[np.float32], block: int) -> bytes:
    rows = embeddings[0, block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS]
    return rows[:, ::STRIDE][:, :NUMBERS].tobytes()


def tagged(keys: list[bytes], rest: bytes, tokens: int, width: int) -> NDArray[np.float32]:
    embeddings = np.random.default_rng(7).normal(size=(1, tokens, width)).astype(np.float32)
    tag(embeddings, keys, rest)
    return embeddings


@given(st.integers(1, 100), st.integers(1, 130))
def test_a_number_changes_by_no_more_than_rounding(tokens: int, width: int) -> None:
    keys = [bytes([index]) for index in range((tokens - 1) // BLOCK_TOKENS)]
    before = np.random.default_rng(7).normal(size=(1, tokens, width)).astype(np.float32)
    after = tagged(keys, b"rest", tokens, width)
    assert not np.any((before.view(np.uint32) ^ after.view(np.uint32)) & ~np.uint32(3))


@pytest.mark.parametrize("width", [192, 576])
def test_only_blocks_of_the_same_key_are_the_same_to_the_pipeline(width: int) -> None:
    one, again = (tagged([b"a", b"b"], b"rest", 80, width) for _ in range(2))
    other = tagged([b"a", b"c"], b"other", 80, width)
    assert np.array_equal(one, again), "an answer does not depend on chance"
    assert [hashed(one, block) == hashed(other, block) for block in range(3)] == [
        True,
        False,
        False,
    ]


def test_what_has_no_key_is_tagged_anew_each_time() -> None:
    one, again = (tagged([], b"", 10, 192) for _ in range(2))
    assert all(
        row.tobytes() != other.tobytes() for row, other in zip(one[0], again[0], strict=True)
    )
