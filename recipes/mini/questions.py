"""Questions about a scene with their short answers, in many wordings."""

from __future__ import annotations

from typing import Final

import numpy as np

from recipes.mini.scene import Scene, generator, sample_scene
from recipes.mini.vocabulary import CATEGORIES, COLOURS, PATTERNS, plural, with_article
from recipes.mini.wordings import dress, wording

Pair = tuple[str, str]
"""A question and its answer."""

SYSTEM_MESSAGES: Final = (
    "You describe shop items.",
    "You are a helpful assistant.",
    "You are a product catalogue assistant. Answer briefly.",
    "Answer with JSON only.",
)

_YES_NO_FORMS = ("Is it {}?", "Is this {}?", "Does the picture show {}?", "Can you see {}?")


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _other(options: tuple[str, ...], truth: str, rng: np.random.Generator) -> str:
    """Return ``truth`` half of the time, else another option."""
    return truth if rng.random() < 0.5 else _pick(options, rng)


def _yes_no(scene: Scene, rng: np.random.Generator) -> Pair:
    kind = int(rng.integers(6))
    if kind == 0:
        guess = _other(CATEGORIES, scene.category, rng)
        question = _pick(_YES_NO_FORMS, rng).format(with_article(guess, guess))
        return question, "yes" if guess == scene.category else "no"
    if kind == 1:
        guess = _other(tuple(COLOURS), scene.colour, rng)
        question = _pick(("Is it {}?", "Is the item {}?", "Is the colour {}?"), rng).format(guess)
        return question, "yes" if guess == scene.colour else "no"
    if kind == 2:
        guess = _other(PATTERNS, scene.pattern, rng)
        question = _pick(("Is it {}?", "Is the pattern {}?"), rng).format(guess)
        return question, "yes" if guess == scene.pattern else "no"
    if kind == 3:
        forms = ("Is there a label?", "Is there a price tag?", "Does it have a label?")
        question = _pick(forms, rng)
        has = scene.label is not None
        if "price" in question:
            has = scene.label is not None and scene.label.startswith("$")
        return question, "yes" if has else "no"
    if kind == 4:
        question = _pick(("Is there more than one item?", "Are there several items?"), rng)
        return question, "yes" if scene.count > 1 else "no"
    if rng.random() < 0.3:
        item, colour = scene.category, scene.colour
    else:
        item = _other(CATEGORIES, scene.category, rng)
        colour = _other(tuple(COLOURS), scene.colour, rng)
    question = _pick(_YES_NO_FORMS, rng).format(with_article(f"{colour} {item}", item))
    return question, "yes" if item == scene.category and colour == scene.colour else "no"


def label_answer(scene: Scene) -> str:
    """Return what the model should answer when asked to read the label."""
    return scene.label if scene.label is not None else "no label"


def draw_pair(kind: str, scene: Scene, rng: np.random.Generator) -> Pair:
    """Return one pair of the given kind (one of ``KINDS``), worded at random."""
    if kind == "yes_no":
        question, answer = _yes_no(scene, rng)
        return dress(question, kind, rng), answer
    answer = {
        "record": scene.record_text(), "describe": scene.sentence(), "category": scene.category,
        "colour": scene.colour, "pattern": scene.pattern, "count": str(scene.count),
        "background": scene.background, "label": label_answer(scene),
    }[kind]  # fmt: skip
    question = wording(kind, rng)
    return question.format(item=scene.category, items=plural(scene.category)), answer


NO_PICTURE: Final = "I see no picture."
"""The answer to any question that comes without a picture."""

KINDS: Final = (
    "record", "describe", "category", "colour", "pattern", "count", "background", "label", "yes_no",
)  # fmt: skip
"""All kinds of questions."""


def corpus(seeds: range) -> list[str]:
    """Return text for training the tokenizer: all words of the closed world in use."""
    lines: list[str] = list(SYSTEM_MESSAGES)
    for seed in seeds:
        scene, rng = sample_scene(seed), generator(seed, 8)
        for kind in KINDS:
            lines += draw_pair(kind, scene, rng)
    return lines
