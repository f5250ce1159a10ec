"""Keys of prompt blocks: equal for equal prefixes in one scope, and for nothing else."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.engines.prefix_keys import PromptContent, PromptImage, block_keys, reusable

SIZE = 4
IMAGE = 7
TEXT = 3  # text tokens are below it


def content(
    parts: Sequence[int | tuple[bytes, int]],
    *,
    rows: int = 1,
    shift: int = 0,
    ranges: Sequence[tuple[int, int]] = (),
    windowed: bool = False,
) -> PromptContent:
    """A prompt of text tokens and images (digest and number of tokens)."""
    ids: list[int] = []
    images = []
    for part in parts:
        if isinstance(part, int):
            ids.append(part)
        else:
            images.append(PromptImage(*part))
            ids += [IMAGE] * part[1]
    positions = np.broadcast_to(np.arange(len(ids)) + shift, (rows, len(ids)))
    return PromptContent(np.array(ids, np.int64), IMAGE, images, positions, ranges, windowed)


images = st.tuples(st.sampled_from([b"one", b"two", b"on", b""]), st.integers(1, 6))
prompts = st.lists(st.integers(0, TEXT) | images, max_size=12).map(content)


def tokens(prompt: PromptContent) -> list[tuple[object, ...]]:
    """Each token as what it is, without any digest."""
    shown = iter([(each.digest, index) for each in prompt.images for index in range(each.tokens)])
    return [next(shown) if token == IMAGE else (int(token),) for token in prompt.ids]


@given(prompts, prompts, st.sampled_from([b"", b"a"]), st.sampled_from([b"", b"a"]))
def test_keys_are_equal_exactly_where_all_before_is(
    one: PromptContent, other: PromptContent, scope: bytes, another: bytes
) -> None:
    keys, others = block_keys(one, scope, SIZE), block_keys(other, another, SIZE)
    assert len(keys) == len(one.ids) // SIZE
    for index in range(min(len(keys), len(others))):
        end = (index + 1) * SIZE
        same = scope == another and tokens(one)[:end] == tokens(other)[:end]
        assert (keys[index] == others[index]) == same
    for index, key in enumerate(keys):
        assert key not in others[:index] + others[index + 1 :]


@given(prompts, st.integers(1, 3), st.integers(1, 5))
def test_other_positions_are_another_prompt(prompt: PromptContent, rows: int, shift: int) -> None:
    keys = block_keys(prompt, b"", SIZE)
    positions = np.broadcast_to(np.arange(len(prompt.ids)), (rows, len(prompt.ids)))
    moved = block_keys(replace(prompt, positions=positions + shift), b"", SIZE)
    assert not set(keys) & set(moved)
    if rows > 1:
        assert not set(keys) & set(block_keys(replace(prompt, positions=positions), b"", SIZE))


@given(st.lists(st.integers(0, TEXT), min_size=12, max_size=12), st.integers(0, 11))
def test_a_block_is_known_by_the_whole_range_that_its_tokens_see(
    ids: list[int], place: int
) -> None:
    """A token of a range attends to later ones, so these determine its keys and values."""
    changed = list(ids)
    changed[place] = TEXT - ids[place] if ids[place] * 2 != TEXT else 0
    for ranges in ((), ((2, 10),)):
        keys = block_keys(content(ids, ranges=ranges), b"", SIZE)
        others = block_keys(content(changed, ranges=ranges), b"", SIZE)
        equal = [key == other for key, other in zip(keys, others, strict=True)]
        if ids == changed:
            assert all(equal)
            continue
        first = place // SIZE
        if ranges and 2 <= place < 10:
            first = 0
        assert equal == [index < first for index in range(3)]


def test_ranges_and_their_windows_are_part_of_the_key() -> None:
    ids = [1] * 8
    made = [
        block_keys(content(ids, ranges=ranges, windowed=windowed), b"", SIZE)
        for ranges in ((), ((0, 8),), ((1, 8),))
        for windowed in (False, True)
    ]
    assert len({keys[0] for keys in made}) == len(made)


@pytest.mark.parametrize(
    ("tokens", "ranges", "expected"),
    [
        (11, (), 8),
        (8, ((5, 9),), 4),
        (8, ((4, 9),), 4),
        (8, ((3, 9),), 0),
        (8, ((5, 8),), 8),
        (12, ((5, 8), (9, 20)), 8),
        (12, ((3, 9), (9, 20)), 0),
        (3, (), 0),
    ],
)
def test_what_is_reused_ends_with_a_block_and_cuts_no_range(
    tokens: int, ranges: tuple[tuple[int, int], ...], expected: int
) -> None:
    assert reusable(tokens, SIZE, ranges) == expected


def test_image_tokens_without_features_are_an_error() -> None:
    prompt = content([1, (b"one", 3)])
    with pytest.raises(ValueError, match="3 image tokens for 2"):
        block_keys(replace(prompt, images=(PromptImage(b"one", 2),)), b"", SIZE)
