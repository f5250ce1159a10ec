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
"""Seeds of the three splits. A seed fixes truth and pixels, so the splits share no picture."""

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


def sample_scene(seed: int, **fixed: Any) -> Scene:
    """Draw the truth of picture ``seed``; ``fixed`` overrides fields by name."""
    rng = generator(seed, 0)
    category = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
    colour = tuple(COLOURS)[int(rng.integers(len(COLOURS)))]
    pattern = PATTERNS[0] if rng.random() < 0.4 else PATTERNS[int(rng.integers(1, 4))]
    draw = rng.random()
    count = 1 if draw < 0.7 else 2 if draw < 0.87 else 3
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    label: str | None = None
    if rng.random() < 0.35:
        word = rng.random() < 0.5
        label = str(rng.choice(WORD_LABELS)) if word else f"${int(rng.integers(1, 100))}"
    scene = Scene(seed, category, colour, pattern, count, background, label)
    scene = replace(scene, **fixed)
    if scene.category in PLAIN_ONLY:
        scene = replace(scene, pattern="plain")
    return scene
