"""A product's description, its style, and the JSON schema that both obey."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from silkline.catalog.vocabulary import Language, Value, Vocabulary

TITLE_CHARACTERS = 80
BULLET_CHARACTERS = 160
ALT_TEXT_CHARACTERS = 200
TAG_CHARACTERS = 30
MAX_TAGS = 10
"""The longest title, bullet, text for those who do not see the image, and tag."""


class Tone(StrEnum):
    """How a description speaks."""

    NEUTRAL = "neutral"
    FRIENDLY = "friendly"
    FORMAL = "formal"


class Length(StrEnum):
    """How much a description says."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"

    @property
    def max_bullets(self) -> int:
        """The largest number of bullets."""
        return {Length.SHORT: 2, Length.MEDIUM: 4, Length.LONG: 8}[self]


class Style(msgspec.Struct, frozen=True):
    """What kind of description is wanted."""

    language: Language = Language.ENGLISH
    tone: Tone = Tone.NEUTRAL
    length: Length = Length.MEDIUM


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A description.

    Attributes:
        language: Of all texts.
        title: One line.
        bullets: From one to the length's maximum.
        attributes: What the shop shows and filters by; values as in the vocabulary.
        alt_text: What the image shows, for those who do not see it.
        tags: Words to search for.
    """

    language: Language
    title: str
    bullets: tuple[str, ...]
    attributes: Mapping[str, Value]
    alt_text: str
    tags: tuple[str, ...]

    def texts(self) -> tuple[tuple[str, str], ...]:
        """All texts that a customer reads, each with the name of its part."""
        bullets = (("bullets", bullet) for bullet in self.bullets)
        tags = (("tags", tag) for tag in self.tags)
        free = (("attributes", text) for text in self.attributes.values() if isinstance(text, str))
        return (("title", self.title), *bullets, ("alt_text", self.alt_text), *tags, *free)


def description_schema(vocabulary: Vocabulary, style: Style) -> dict[str, Any]:
    """The JSON schema of a description in this style."""
    attributes = vocabulary.schema(vocabulary.attributes) | {"required": []}
    properties = {
        "language": {"const": style.language.value},
        "title": _text(TITLE_CHARACTERS),
        "bullets": _texts(BULLET_CHARACTERS, 1, style.length.max_bullets),
        "attributes": attributes,
        "alt_text": _text(ALT_TEXT_CHARACTERS),
        "tags": _texts(TAG_CHARACTERS, 1, MAX_TAGS),
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(max_characters: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": max_characters}


def _texts(max_characters: int, min_items: int, max_items: int) -> dict[str, Any]:
    items = _text(max_characters)
    return {"type": "array", "items": items, "minItems": min_items, "maxItems": max_items}


def schema_violations(
    description: Description, vocabulary: Vocabulary, style: Style
) -> tuple[str, ...]:
    """What does not match `description_schema`, in words; empty if everything does."""
    wrong: list[str] = []

    def hold(name: str, text: str, max_characters: int) -> None:
        if not 1 <= len(text) <= max_characters:
            wrong.append(f"{name} has {len(text)} characters, expected 1 to {max_characters}")

    def count(name: str, found: int, maximum: int) -> None:
        if not 1 <= found <= maximum:
            wrong.append(f"there are {found} {name}, expected 1 to {maximum}")

    hold("the title", description.title, TITLE_CHARACTERS)
    hold("the text for the image", description.alt_text, ALT_TEXT_CHARACTERS)
    count("bullets", len(description.bullets), style.length.max_bullets)
    count("tags", len(description.tags), MAX_TAGS)
    for bullet in description.bullets:
        hold("a bullet", bullet, BULLET_CHARACTERS)
    for tag in description.tags:
        hold("a tag", tag, TAG_CHARACTERS)
    known = {attribute.name: attribute for attribute in vocabulary.attributes}
    for name, value in description.attributes.items():
        if name not in known or not known[name].allows(value):
            wrong.append(f"the attribute {name} cannot be {value}")
    if description.language is not style.language:
        wrong.append(f"the language is {description.language}, expected {style.language}")
    return tuple(wrong)
