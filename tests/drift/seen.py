"""Computed answers for tests, drawn from a kind of traffic."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from silkline.drift.features import Observed, Output
from silkline.ingress.identity import Identity

_WORDS = ("a", "red", "blue", "mug", "chair", "shirt", "with", "plain", "striped", "handle", "on")


@dataclass(frozen=True)
class Traffic:
    """A kind of traffic.

    Attributes:
        formats: The formats of images, with repeats by their share.
        brightness: Mean brightness of images.
        characters: Mean characters of a question.
        words: Mean words of an answer.
        colours: The values of the answers' field `colour`.
        refused: Share of refusals.
        looks: Shapes that images have: a bit pattern, of which each image differs in some bits.
        vocabulary: The words of answers.
    """

    formats: tuple[str, ...] = ("jpeg", "jpeg", "jpeg", "png")
    brightness: float = 140
    characters: float = 60
    words: float = 12
    colours: tuple[str, ...] = ("red", "blue", "green")
    refused: float = 0.01
    looks: tuple[int, ...] = (0x0F0F0F0F0F0F0F0F, 0x00FF00FF00FF00FF, 0x3333CCCC3333CCCC)
    vocabulary: tuple[str, ...] = _WORDS
    edge: int = 600


def drawn(traffic: Traffic, draw: Random, *, structured: bool = False) -> Observed:
    """One computed answer."""
    width, height = (max(8, round(draw.gauss(traffic.edge, traffic.edge / 6))) for _ in range(2))
    look = draw.choice(traffic.looks)
    for _ in range(4):
        look ^= 1 << draw.randrange(64)
    image = Identity(
        f"{draw.getrandbits(64):x}",
        width * height,
        look,
        width,
        height,
        draw.choice(traffic.formats),
        min(255, max(0, round(draw.gauss(traffic.brightness, 25)))),
    )
    count = max(1, round(draw.gauss(traffic.words, 3)))
    text = " ".join(draw.choices(traffic.vocabulary, k=count))
    if structured:
        text = f'{{"colour": "{draw.choice(traffic.colours)}", "title": "{draw.getrandbits(60)}"}}'
    if draw.random() < traffic.refused:
        text = "I'm sorry, I cannot help with that image."
    characters = max(1, round(draw.gauss(traffic.characters, 15)))
    return Observed((image,), characters, (Output(count + 2, "stop", text),))
