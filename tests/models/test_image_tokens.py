import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.errors import InvalidRequest
from silkline.models.image_tokens import (
    Anyres,
    Count,
    Fixed,
    SmartResize,
    Splitting,
    Tiling,
    TokenRule,
)

NEXT = Anyres(576, 24, 336, ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)))
STEPS = range(384, 2305, 384)
ONEVISION = Anyres(729, 27, 384, tuple((h, w) for h in STEPS for w in STEPS), 9)
QWEN = SmartResize(28, 3136, 12845056)
QWEN_SMALL = SmartResize(28, 64**2, 512**2)
SMOLVLM = Splitting(64, 512, 2048)
INTERNVL = Tiling(256, 448, 1, 12)

sides = st.integers(1, 6000)
rules = st.sampled_from([Fixed(576), NEXT, ONEVISION, QWEN, QWEN_SMALL, SMOLVLM, INTERNVL])


@pytest.mark.parametrize(
    ("rule", "width", "height", "expected"),
    [
        # The whole grid of 2 x 2 tiles: 48 rows of 48 patches and a line end each, and the copy.
        (NEXT, 1000, 1000, Count(576 + 48 * 48 + 48)),
        # In 2 x 2 tiles, 36 of 48 rows are left of 4:3.
        (NEXT, 640, 480, Count(576 + 36 * 48 + 36)),
        (NEXT, 336, 1008, Count(576 + 72 * 24 + 72)),
        (ONEVISION, 384, 384, Count(729 + 27 * 27 + 27)),
        # 5 x 3 tiles, 75 of 81 rows left, shrunk by sqrt(75 * 135 / (9 * 729)) = 1.242.
        (ONEVISION, 1920, 1080, Count(729 + 60 * 108 + 60)),
        # vLLM's tests state 1426 and 330 for a picture of 1300 x 876 and these budgets.
        (QWEN, 1300, 876, Count(1426, 2)),
        (QWEN_SMALL, 1300, 876, Count(330, 2)),
        (QWEN, 28, 28, Count(4, 2)),
        (QWEN, 224, 224, Count(64, 2)),
        # To 2048 x 1536: 4 x 3 tiles and the copy; 2 markers a tile, 3 line ends, 3 for the copy.
        (SMOLVLM, 1024, 768, Count(64 * 13, 24 + 3 + 3, 13)),
        (SMOLVLM, 100, 100, Count(64 * 17, 32 + 4 + 3, 17)),
        # vLLM's tests state 169 and 169 * 5 for squares with these longest sides.
        (Splitting(169, 364, 364), 1344, 1344, Count(169, 3)),
        (Splitting(169, 364, 728), 1344, 1344, Count(169 * 5, 8 + 2 + 3, 5)),
        (Splitting(64, 512, 2048, splits=False), 4000, 3000, Count(64, 3)),
        (Splitting(64, 512, None), 512, 300, Count(64, 3)),
        # Two tiles high makes it 598 wide, which takes two tiles too.
        (Splitting(64, 512, None), 300, 513, Count(64 * 5, 8 + 2 + 3, 5)),
        (INTERNVL, 448, 448, Count(256, 2)),
        # vLLM's tests state 5 tiles for 896 x 896 and at most 4.
        (Tiling(256, 448, 1, 4), 896, 896, Count(256 * 5, 2, 5)),
        (Tiling(256, 448, 1, 1), 896, 896, Count(256, 2)),
        # 4 x 2 has the same aspect as 2 x 1 and is more than half full.
        (INTERNVL, 1920, 1080, Count(256 * 9, 2, 9)),
        (INTERNVL, 600, 300, Count(256 * 3, 2, 3)),
        (Fixed(256, markers=2), 5, 4000, Count(256, 2)),
    ],
)
def test_tokens_that_were_reckoned_by_hand(
    rule: TokenRule, width: int, height: int, expected: Count
) -> None:
    assert rule.count(width, height) == expected
    assert expected.total <= rule.maximum().total


@settings(deadline=None)
@given(rule=rules, width=sides, height=sides)
def test_no_picture_takes_more_than_the_most(rule: TokenRule, width: int, height: int) -> None:
    try:
        count = rule.count(width, height)
    except InvalidRequest:
        assert max(width, height) > 200 * min(width, height)
    else:
        assert 0 < count.total <= rule.maximum().total
        assert count.features > 0
        assert count.markers >= 0


@settings(deadline=None)
@given(
    cell=st.integers(1, 64),
    least=st.integers(1, 10**6),
    more=st.integers(0, 10**7),
    width=sides,
    height=sides,
)
def test_no_budget_is_exceeded(cell: int, least: int, more: int, width: int, height: int) -> None:
    rule = SmartResize(cell, least, least + more)
    if max(width, height) <= 200 * min(width, height):
        assert rule.count(width, height).total <= rule.maximum().total


@settings(deadline=None)
@given(
    tile=st.integers(16, 1000), longest=st.none() | st.integers(1, 5000), width=sides, height=sides
)
def test_no_split_exceeds_its_bound(
    tile: int, longest: int | None, width: int, height: int
) -> None:
    rule = Splitting(81, tile, longest)
    assert rule.count(width, height).total <= rule.maximum().total


@settings(deadline=None)
@given(rule=st.sampled_from([QWEN, SMOLVLM, INTERNVL]), width=sides, height=sides)
def test_a_picture_on_its_side_takes_as_many_features(
    rule: TokenRule, width: int, height: int
) -> None:
    try:
        count = rule.count(width, height)
    except InvalidRequest:
        with pytest.raises(InvalidRequest):
            rule.count(height, width)
    else:
        if rule is not INTERNVL:  # whose nearest aspect is nearest in width / height
            assert rule.count(height, width).features == count.features


@settings(deadline=None)
@given(side=st.integers(56, 3500), more=st.integers(0, 500))  # smaller ones are enlarged
def test_a_larger_square_takes_no_fewer_tokens(side: int, more: int) -> None:
    larger = side + more
    for rule in (NEXT, QWEN, INTERNVL):
        assert rule.count(larger, larger).total >= rule.count(side, side).total


@settings(deadline=None)
@given(width=st.integers(1, 3000), height=st.integers(1, 3000), more=st.integers(0, 500))
def test_within_the_budget_more_pixels_take_no_fewer_tokens(
    width: int, height: int, more: int
) -> None:
    if max(width + more, height) > 200 * min(width, height):
        return
    if min(width, height) >= 56:  # below, the picture is enlarged
        assert QWEN.count(width + more, height).total >= QWEN.count(width, height).total


def test_a_strip_is_refused_in_plain_words() -> None:
    with pytest.raises(InvalidRequest, match=r"201x1: .* at most 200 times the shorter. Crop it"):
        QWEN.count(201, 1)
    assert QWEN.count(200, 1).total > 0
