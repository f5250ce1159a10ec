"""The cost model: estimates what a request costs before any work is done for it.

A tenant's limits count tokens; the fair queue and the predictions count work, in units of one
generated token. Both are estimates that are calibrated by answered requests:

- text: characters divided by the recent characters per token;
- images: the engine's fixed number of tokens each, or by pixels where its tokens depend on them;
- answer: `max_tokens` times the share of it that answers used, separately by the size of
  `max_tokens`, because requests with a maximum of 16 tokens differ from those with 4,096;
- the work of a prompt token relative to a generated one, by the seconds that both took.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from silkline.core import EngineInfo, PixelBudget, Stage, Timeline, Usage

FIRST_CHARACTERS_PER_TOKEN = 4.0
"""Characters per text token until the first answer; usual for English."""

FIRST_PREFILL_WEIGHT = 0.1
"""Work of a prompt token until the first answer."""

_MIN_PREFILL_WEIGHT = 0.001
_MAX_PREFILL_WEIGHT = 10.0
_MEMORY = 0.02


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a request, as far as it is known before any work.

    Attributes:
        characters: Characters of all texts.
        images: Expected pixels of each image, from its header or the client's own limit; None if
            nothing is known yet.
        max_tokens: Maximum tokens of the answer; 0 if the prompt is only tokenized.
    """

    characters: int
    images: tuple[int | None, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Price:
    """The expected cost of a request.

    Attributes:
        prompt_tokens: Tokens of text and images.
        answer_tokens: Tokens of the answer.
        work: Work of both, in units of a generated token, at least 1.
        guessed: Whether no answer was known yet, so that `max_tokens` was used for the answer.
    """

    prompt_tokens: int
    answer_tokens: int
    work: float
    guessed: bool = False

    @property
    def tokens(self) -> int:
        """The tokens that count against a tenant's limit."""
        return self.prompt_tokens + self.answer_tokens


class Ratio:
    """A quotient of two sums that decay exponentially."""

    def __init__(self, above: float = 0.0, below: float = 0.0, *, memory: float = _MEMORY) -> None:
        """Starts with one observation; `memory` is the share that a new one replaces."""
        self._above = above
        self._below = below
        self._keep = 1.0 - memory

    def note(self, above: float, below: float) -> None:
        """Adds one observation."""
        self._above = self._above * self._keep + above
        self._below = self._below * self._keep + below

    @property
    def value(self) -> float | None:
        """The quotient; None before the first observation."""
        return self._above / self._below if self._below > 0 else None


class CostModel:
    """Prices requests, and learns from answered ones."""

    def __init__(self) -> None:
        self._characters = Ratio(10 * FIRST_CHARACTERS_PER_TOKEN, 10)
        self._answers: dict[int, Ratio] = {}
        self._answer_tokens = Ratio()
        self._prefill_seconds = Ratio()
        self._generate_seconds = Ratio()

    @property
    def prefill_weight(self) -> float:
        """Work of a prompt token; the work of a generated token is 1."""
        prefill, generate = self._prefill_seconds.value, self._generate_seconds.value
        if prefill is None or not generate:
            return FIRST_PREFILL_WEIGHT
        return min(max(prefill / generate, _MIN_PREFILL_WEIGHT), _MAX_PREFILL_WEIGHT)

    def price(self, size: Size, info: EngineInfo, budget: PixelBudget) -> Price:
        """Prices a request whose images are reduced to the budget."""
        characters_per_token = self._characters.value or FIRST_CHARACTERS_PER_TOKEN
        prompt = math.ceil(size.characters / characters_per_token)
        prompt += sum(image_tokens(pixels, info, budget) for pixels in size.images)
        answer = self._answer(size.max_tokens)
        guessed = self._answer_tokens.value is None
        return Price(prompt, answer, self._work(prompt, answer), guessed)

    def learn(self, size: Size, usage: Usage, timeline: Timeline) -> float:
        """Learns from the actual usage of an answer; returns its actual work."""
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
    """Prompt tokens of an image; the maximum if its pixels are not known."""
    if info.pixels_per_token is None:
        return info.image_tokens
    maximum = budget.max_pixels if pixels is None else min(pixels, budget.max_pixels)
    return min(info.image_tokens, math.ceil(maximum / info.pixels_per_token))
