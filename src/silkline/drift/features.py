"""The features of a computed answer: what its images, its text and its answer are like."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from silkline.core import Delta, complete
from silkline.drift.bins import ABSENT, Value
from silkline.errors import UNDECODABLE
from silkline.ingress.identity import Identity
from silkline.service.record import RequestRecord

FIELD = "field:"
"""Prefix of the feature of a structured answer's field, followed by the field's name."""

NUMBERS = frozenset(
    {"pixels", "aspect", "brightness", "novelty", "text_length", "answer_length", "images"}
)
"""Features whose values are numbers; the values of the others are categories."""

_MAX_CHARACTERS = 1_000
"""Characters of an answer in which a word is drawn."""

_MAX_VALUE = 40
_CACHED = frozenset({"hit", "coalesced", "near"})
_OPENING = 200
"""Characters in which a refusal is looked for."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+")
"""A word, or a single character of Chinese or Japanese, which put no spaces between words."""

_REFUSAL = re.compile(
    r"\bI(?:'m| am)(?: very| so)? sorry\b|\bI apologi[sz]e\b|\bsorry, (?:but )?I\b|\bas an AI\b"
    r"|\bI (?:can't|cannot|can not|won't|will not|am unable|am not able|'m unable|'m not able)\b"
    r"|\bunable to (?:help|assist|comply|provide|identify|process)\b"
    r"|抱歉|对不起|對不起|无法(?:回答|提供|识别|协助|完成)|無法(?:回答|提供|識別|協助|完成)|申し訳",
    re.IGNORECASE,
)
_REFUSING = (
    "sorry", "apologi", "as an ai", "can't", "cannot", "can not", "won't", "will not", "unable",
    "not able", "抱歉", "对不起", "對不起", "无法", "無法", "申し訳",
)  # fmt: skip
"""Words without which nothing is a refusal."""


@dataclass(frozen=True, slots=True)
class Output:
    """An answer.

    Attributes:
        tokens: Its completion tokens.
        finish: Why it ended.
        text: Its text; None if that is not known.
    """

    tokens: int
    finish: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Observed:
    """A request whose answer was computed.

    Attributes:
        images: What is known about its images.
        characters: Characters of its text.
        outputs: Its answers.
    """

    images: tuple[Identity, ...]
    characters: int
    outputs: tuple[Output, ...]


def observed(record: RequestRecord) -> Observed | None:
    """Returns what a request that has ended shows; None if no engine answered it.

    Answers from the cache do not count: one popular image would look like drift.
    """
    details = record.details
    if record.error is not None or record.cache in _CACHED or details.asked is None:
        return None
    outputs = tuple(
        output for deltas in details.answers or () if (output := _output(deltas)) is not None
    )
    return Observed(details.images, details.asked.characters, outputs) if outputs else None


def _output(deltas: Sequence[Delta]) -> Output | None:
    answer = complete(deltas)
    if answer is None:
        return None
    return Output(answer.usage.completion_tokens, answer.finish_reason.value, answer.text)


def features_of(
    seen: Observed, references: Sequence[int], fields: Sequence[str], draw: Random
) -> Iterator[tuple[str, Value]]:
    """Yields the names and values of the features of a request.

    Args:
        seen: The request.
        references: The perceptual digests that images are compared with.
        fields: The fields of structured answers that are looked at.
        draw: Draws one word of each answer, so that words count independently of each other.
    """
    yield "text_length", seen.characters
    yield "images", len(seen.images)
    for image in seen.images:
        yield from _of_image(image, references)
    for output in seen.outputs:
        yield "answer_length", output.tokens
        yield "finish", output.finish
        if output.text is not None:
            yield from _of_text(output.text, fields, draw)


def _of_image(image: Identity, references: Sequence[int]) -> Iterator[tuple[str, Value]]:
    yield "pixels", image.original_pixels
    if image.width and image.height:
        yield "aspect", round(math.log2(image.width / image.height), 2)
    if image.file_format:
        yield "format", image.file_format
    if image.brightness is not None:
        yield "brightness", image.brightness
    if image.perceptual is not None and references:
        distances = [(image.perceptual ^ one).bit_count() for one in references]
        nearest = min(distances)
        yield "look", str(distances.index(nearest))
        yield "novelty", nearest


def _of_text(text: str, fields: Sequence[str], draw: Random) -> Iterator[tuple[str, Value]]:
    yield "refusal", "yes" if _refuses(text[:_OPENING]) else "no"
    if words := _WORD.findall(text, 0, _MAX_CHARACTERS):
        yield "vocabulary", draw.choice(words).casefold()
    if fields:
        values = fields_of(text)
        for name in fields:
            yield f"{FIELD}{name}", values.get(name, ABSENT)


def _refuses(opening: str) -> bool:
    opening = opening.lower().replace("\u2019", "'")
    # The search takes 20 us, which the look for a word saves almost always.
    return any(word in opening for word in _REFUSING) and bool(_REFUSAL.search(opening))


def fields_of(text: str) -> Mapping[str, str]:
    """The single values of a JSON object's fields as text; empty if the text is no such object."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        found: Any = msgspec.json.decode(text)
    except UNDECODABLE:
        return {}
    single = (str, int, float, bool)
    return {
        str(name)[:_MAX_VALUE]: str(value)[:_MAX_VALUE].casefold()
        for name, value in found.items()
        if value is None or isinstance(value, single)
    }
