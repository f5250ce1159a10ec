"""What a request costs, told before any work is spent on it.

Tokens are what a tenant's limit counts; work is what the fair queue and the predictions count, in
units of one generated token. Both are estimates that answered requests calibrate:

- text: characters divided by the characters per token seen of late;
- pictures: the engine's fixed number each, or by pixels where the engine's tokens follow them;
- answer: `max_tokens` times the share of it that answers used, told apart by the size of
  `max_tokens`, because who asks for 16 tokens at most asks other questions than who asks for 4,096;
- a prompt token's work, compared with a generated one's, by the seconds that both took.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from silkline.core import EngineInfo, PixelBudget, Stage, Timeline, Usage

FIRST_CHARACTERS_PER_TOKEN = 4.0
"""Characters of a token of text until an answer tells; usual for English."""

FIRST_PREFILL_WEIGHT = 0.1
"""Work of a prompt token until an answer tells."""

_MIN_PREFILL_WEIGHT = 0.001
_MAX_PREFILL_WEIGHT = 10.0
_MEMORY = 0.02


@dataclass(frozen=True, slots=True)
class Size:
    """What is asked, as far as it is known without work.

    Attributes:
        characters: Of all texts.
        pictures: Pixels of each picture, told by its header; None where that has not come yet.
        max_tokens: Most tokens of the answer, at least 1.
    """

    characters: int
    images: tuple[int | None, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a request is expected to cost.

    Attributes:
        prompt_tokens: Tokens of text and pictures.
        answer_tokens: Tokens of the answer.
        work: Both together in units of a generated token, at least 1.
        guessed: Whether no answer was known, so that all of `max_tokens` was taken.
    """

    prompt_tokens: int
    answer_tokens: int
    work: float
    guessed: bool = False

    @property
    def tokens(self) -> int:
        """What a tenant's limit counts."""
        return self.prompt_tokens + self.answer_tokens


class Ratio:
    """A quotient of two sums in which older observations fade."""

    def __init__(self, above: float = 0.0, below: float = 0.0, *, memory: float = _MEMORY) -> None:
        """Starts with one observation; `memory` is the share that a new one replaces."""
        self._above = above
        self._below = below
        self._keep = 1.0 - memory

    def note(self, above: float, below: float) -> None:
        """Takes one observation."""
        self._above = self._above * self._keep + above
        self._below = self._below * self._keep + below

    @property
    def value(self) -> float | None:
        """The quotient; None before there is one."""
        return self._above / self._below if self._below > 0 else None


class CostModel:
    """Prices requests, and learns from those that were answered."""

    def __init__(self) -> None:
        self._characters = Ratio(10 * FIRST_CHARACTERS_PER_TOKEN, 10)
        self._answers: dict[int, Ratio] = {}
        self._answer_tokens = Ratio()
        self._prefill_seconds = Ratio()
        self._generate_seconds = Ratio()

    @property
    def prefill_weight(self) -> float:
        """Work of a prompt token; a generated one's is 1."""
        prefill, generate = self._prefill_seconds.value, self._generate_seconds.value
        if prefill is None or not generate:
            return FIRST_PREFILL_WEIGHT
        return min(max(prefill / generate, _MIN_PREFILL_WEIGHT), _MAX_PREFILL_WEIGHT)

    def price(self, size: Size, info: EngineInfo, budget: PixelBudget) -> Price:
        """Prices a request whose pictures are reduced to the budget."""
        characters_per_token = self._characters.value or FIRST_CHARACTERS_PER_TOKEN
        prompt = math.ceil(size.characters / characters_per_token)
        prompt += sum(image_tokens(pixels, info, budget) for pixels in size.images)
        answer = self._answer(size.max_tokens)
        guessed = self._answer_tokens.value is None
        return Price(prompt, answer, self._work(prompt, answer), guessed)

    def learn(self, size: Size, usage: Usage, timeline: Timeline) -> float:
        """Takes what an answer has really used; returns the work that it was."""
        text_tokens = usage.prompt_tokens - usage.image_tokens
        if size.characters and text_tokens > 0:
            self._characters.note(size.characters, text_tokens)
        share = self._answers.setdefault(size.max_tokens.bit_length(), Ratio())
        share.note(usage.completion_tokens, size.max_tokens)
        self._answer_tokens.note(usage.completion_tokens, 1)
        computed = max(0, usage.prompt_tokens - usage.cached_tokens)
        seconds = timeline.seconds
        if computed and Stage.PREFILL in seconds:
            self._prefill_seconds.note(seconds[Stage.PREFILL], computed)
        if usage.completion_tokens and Stage.GENERATE in seconds:
            self._generate_seconds.note(seconds[Stage.GENERATE], usage.completion_tokens)
        return self._work(computed, usage.completion_tokens)

    def _answer(self, max_tokens: int) -> int:
        known = self._answers.get(max_tokens.bit_length())
        share = None if known is None else known.value
        if share is not None:
            return max(1, min(max_tokens, round(share * max_tokens)))
        usual = self._answer_tokens.value
        return max_tokens if usual is None else max(1, min(max_tokens, round(usual)))

    def _work(self, prompt_tokens: int, answer_tokens: int) -> float:
        return max(1.0, prompt_tokens * self.prefill_weight + answer_tokens)


def image_tokens(pixels: int | None, info: EngineInfo, budget: PixelBudget) -> int:
    """Prompt tokens of a picture; one whose pixels are not known takes as many as it may."""
    if info.pixels_per_token is None:
        return info.image_tokens
    maximum = budget.max_pixels if pixels is None else min(pixels, budget.max_pixels)
    return min(info.image_tokens, math.ceil(maximum / info.pixels_per_token))
