"""What a picture shows: the truth is drawn first, the pixels follow from it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recipes.mini.vocabulary import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    PATTERNS,
    PLAIN_ONLY,
    WORD_LABELS,
    plural,
    with_article,
)

TRAIN_SEEDS = range(10_000_000)
VALIDATION_SEEDS = range(10_000_000, 11_000_000)
TEST_SEEDS = range(11_000_000, 12_000_000)
COMBINATION_SEEDS = range(12_000_000, 13_000_000)
"""Seeds of the splits. A seed fixes truth and pixels, so the splits share no picture. Training and
validation never show a held-out combination, test may, and the last split shows nothing else."""

TRAIN_LABELS, LABELS = (0.55, 0.3), (0.35, 0.5)
"""Share of pictures with a label, and of words among the labels. Training sees more prices than the
other splits, because they are the hardest to read."""

_COUNT_WORDS = {1: "one", 2: "two", 3: "three"}


@dataclass(frozen=True)
class Scene:
    """The truth of one picture; with its seed it determines every pixel."""

    seed: int
    category: str
    colour: str
    pattern: str
    count: int
    background: str
    label: str | None

    def record(self) -> dict[str, Any]:
        """Return the structured truth that the model is asked for."""
        return {
            "category": self.category,
            "colour": self.colour,
            "pattern": self.pattern,
            "count": self.count,
            "label": self.label,
        }

    def record_text(self) -> str:
        """Return the record as the one-line JSON text that the model is trained to write."""
        return json.dumps(self.record(), separators=(",", ":"))

    def noun_phrase(self) -> str:
        """Return e.g. "a red striped mug" or "two blue dotted socks"."""
        adjectives = self.colour if self.pattern == "plain" else f"{self.colour} {self.pattern}"
        if self.count == 1:
            return with_article(f"{adjectives} {self.category}", self.category)
        return f"{_COUNT_WORDS[self.count]} {adjectives} {plural(self.category)}"

    def sentence(self) -> str:
        """Return the one-sentence description."""
        phrase = self.noun_phrase()
        tail = f' with a label that says "{self.label}"' if self.label else ""
        return f"{phrase[0].upper()}{phrase[1:]} on a {self.background} background{tail}."


def generator(seed: int, stream: int) -> np.random.Generator:
    """Return the random source of one aspect (``stream``) of the picture ``seed``."""
    return np.random.Generator(np.random.PCG64(seed * 16 + stream))


def held_out_pairs(category: str) -> tuple[str, str | None]:
    """Return the colour and the pattern that training never shows on ``category``.

    Every category lacks one of the ten colours, so every colour is missing on two or three
    categories; every third category (of those with a surface) lacks one of the three patterns.
    """
    number = CATEGORIES.index(category)
    colour = tuple(COLOURS)[(7 * number + 3) % len(COLOURS)]
    if number % 3 or category in PLAIN_ONLY:
        return colour, None
    return colour, PATTERNS[1 + number // 3 % 3]


def combination(scene: Scene) -> str:
    """Return what is new about ``scene`` for who saw training only: "seen" if nothing is."""
    colour, pattern = held_out_pairs(scene.category)
    new = ["colour"] * (scene.colour == colour) + ["pattern"] * (scene.pattern == pattern)
    return f"new {' and '.join(new)}" if new else "seen"


def is_held_out(scene: Scene) -> bool:
    """Return whether ``scene`` shows a combination that training never shows."""
    return combination(scene) != "seen"


def sample_scene(seed: int, **fixed: Any) -> Scene:
    """Draw the truth of picture ``seed``; ``fixed`` overrides fields by name.

    Truths with a held-out combination are drawn anew where the split must not show one, the others
    where it shows nothing else. Fixed fields are taken as they are.
    """
    rng = generator(seed, 0)
    labels = TRAIN_LABELS if seed in TRAIN_SEEDS else LABELS
    scene = _draw(seed, rng, labels)
    while not _allowed(scene):
        scene = _draw(seed, rng, labels)
    return _settle(replace(scene, **fixed))


def _allowed(scene: Scene) -> bool:
    """Return whether the split of the scene's seed may show its combinations."""
    if scene.seed in TRAIN_SEEDS or scene.seed in VALIDATION_SEEDS:
        return not is_held_out(scene)
    return scene.seed not in COMBINATION_SEEDS or is_held_out(scene)


def _draw(seed: int, rng: np.random.Generator, labels: tuple[float, float]) -> Scene:
    category = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
    colour = tuple(COLOURS)[int(rng.integers(len(COLOURS)))]
    pattern = PATTERNS[0] if rng.random() < 0.4 else PATTERNS[int(rng.integers(1, 4))]
    draw = rng.random()
    count = 1 if draw < 0.7 else 2 if draw < 0.87 else 3
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    label: str | None = None
    if rng.random() < labels[0]:
        word = rng.random() < labels[1]
        label = str(rng.choice(WORD_LABELS)) if word else f"${int(rng.integers(1, 100))}"
    return _settle(Scene(seed, category, colour, pattern, count, background, label))


def _settle(scene: Scene) -> Scene:
    """Make items without a surface plain."""
    return replace(scene, pattern="plain") if scene.category in PLAIN_ONLY else scene
