"""Prices: told before any work, calibrated by what was answered."""

import pytest

from silkline.admission.cost import CostModel, Size, image_tokens
from silkline.core import EngineInfo, PixelBudget, Stage, Timeline, Usage

FIXED = EngineInfo("fake", "fake", "0", "none", context_length=8192, image_tokens=64)
BY_PIXELS = EngineInfo(
    "fake",
    "fake",
    "0",
    "none",
    context_length=8192,
    image_tokens=1024,
    pixel_budget=PixelBudget(max_pixels=1_000_000),
    pixels_per_token=1000,
)
NO_TIME = Timeline()


def learn(model: CostModel, *, size: Size, text: int, answer: int, times: int = 300) -> None:
    for _ in range(times):
        model.learn(size, Usage(text, answer), NO_TIME)


def test_pictures_cost_what_the_engine_says() -> None:
    model = CostModel()
    size = Size(0, (None, 500_000), max_tokens=10)
    assert model.price(size, FIXED, FIXED.pixel_budget).prompt_tokens == 128
    assert model.price(size, BY_PIXELS, BY_PIXELS.pixel_budget).prompt_tokens == 1500


@pytest.mark.parametrize(
    ("pixels", "most_pixels", "tokens"),
    [
        (10_000, 1_000_000, 10),
        (10_001, 1_000_000, 11),
        (5_000_000, 1_000_000, 1000),
        (5_000_000, 250_000, 250),
        (None, 250_000, 250),
        (5_000_000, 5_000_000, 1024),
    ],
)
def test_where_tokens_follow_pixels_the_budget_bounds_them(
    pixels: int | None, most_pixels: int, tokens: int
) -> None:
    assert image_tokens(pixels, BY_PIXELS, PixelBudget(max_pixels=most_pixels)) == tokens


def test_text_is_estimated_by_the_characters_of_a_token_seen_of_late() -> None:
    model = CostModel()
    size = Size(1000, (), max_tokens=1)
    assert model.price(size, FIXED, FIXED.pixel_budget).prompt_tokens == 250
    learn(model, size=size, text=1000, answer=1)  # such as Chinese: a character a token
    assert model.price(size, FIXED, FIXED.pixel_budget).prompt_tokens == pytest.approx(1000, abs=10)


def test_an_answer_is_thought_to_be_as_long_as_may_be_until_one_is_known() -> None:
    model = CostModel()
    size = Size(10, (), max_tokens=4096)
    assert model.price(size, FIXED, FIXED.pixel_budget).answer_tokens == 4096
    learn(model, size=size, text=3, answer=41)
    assert model.price(size, FIXED, FIXED.pixel_budget).answer_tokens == 41


def test_those_who_ask_for_much_do_not_change_the_price_of_those_who_ask_for_little() -> None:
    model = CostModel()
    much, little = Size(10, (), max_tokens=4096), Size(10, (), max_tokens=8)
    learn(model, size=much, text=3, answer=1000)
    assert model.price(little, FIXED, FIXED.pixel_budget).answer_tokens == 8
    learn(model, size=little, text=3, answer=4)
    assert model.price(little, FIXED, FIXED.pixel_budget).answer_tokens == 4
    assert model.price(much, FIXED, FIXED.pixel_budget).answer_tokens == 1000


def test_the_work_of_a_prompt_token_follows_the_seconds_that_it_takes() -> None:
    model = CostModel()
    size = Size(0, (None,), max_tokens=16)
    times = Timeline({Stage.PREFILL: 0.2, Stage.GENERATE: 0.1})
    for _ in range(300):  # 100 prompt tokens take twice as long as 10 generated ones
        model.learn(size, Usage(120, 10, image_tokens=120, cached_tokens=20), times)
    assert model.prefill_weight == pytest.approx(0.2)
    price = model.price(size, FIXED, FIXED.pixel_budget)
    assert price.work == pytest.approx(64 * 0.2 + 10)
    work = model.learn(size, Usage(120, 10, image_tokens=120, cached_tokens=20), times)
    assert work == pytest.approx(100 * 0.2 + 10)


@pytest.mark.parametrize(
    "usage", [Usage(0, 0), Usage(5, 0, 5, 5), Usage(1, 1, 3), Usage(10**9, 10**9)]
)
def test_an_engine_that_counts_oddly_does_no_harm(usage: Usage) -> None:
    model = CostModel()
    for _ in range(10):
        assert model.learn(Size(0, (), 1), usage, Timeline(dict.fromkeys(Stage, 0.0))) >= 1
    price = model.price(Size(100, (None,), 100), FIXED, FIXED.pixel_budget)
    assert price.work >= 1
    assert price.tokens >= 1
