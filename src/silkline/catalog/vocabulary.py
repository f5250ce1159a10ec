"""The attributes that a shop's products have, and the words for them in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from silkline.errors import ConfigError

Value = str | int | None
"""A value of an attribute; None says that the product has none, as an item without a tag."""


class Language(StrEnum):
    """The languages of descriptions."""

    ENGLISH = "en"
    CHINESE = "zh"


class Words(msgspec.Struct, frozen=True):
    """The words for one thing; the first of each is the one to write, the others are understood.

    Attributes:
        en: In English, singular.
        zh: In Chinese.
    """

    en: tuple[str, ...]
    zh: tuple[str, ...]

    def of(self, language: Language) -> tuple[str, ...]:
        """The words in a language."""
        return self.zh if language is Language.CHINESE else self.en


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute of a product.

    Attributes:
        name: Its key in records and answers.
        heading: What people call it.
        values: The allowed values with their words. Empty if any value of `kind` is allowed.
        kind: "choice", "number" (a whole number from 1 to `max_number`) or "text".
        max_number: The largest number.
        max_characters: The longest text.
        visible: Whether an image can show it: a colour, but not a material's weight.
    """

    name: str
    heading: Words
    kind: str = "choice"
    values: Mapping[str, Words] = {}
    max_number: int = 99
    max_characters: int = 80
    visible: bool = True

    def __post_init__(self) -> None:
        if self.kind not in {"choice", "number", "text"} or (self.kind == "choice") != bool(
            self.values
        ):
            raise ConfigError(
                f"The attribute {self.name} has the kind {self.kind} and {len(self.values)} values."
                " Expected a choice with values, or a number or text without."
            )

    def schema(self) -> dict[str, Any]:
        """The JSON schema of its values; null is allowed."""
        if self.kind == "choice":
            return {"enum": [*self.values, None]}
        if self.kind == "number":
            bounds = {"type": "integer", "minimum": 1, "maximum": self.max_number}
            return {"anyOf": [bounds, {"type": "null"}]}
        text = {"type": "string", "minLength": 1, "maxLength": self.max_characters}
        return {"anyOf": [text, {"type": "null"}]}

    def allows(self, value: object) -> bool:
        """Whether a value matches `schema`."""
        if value is None:
            return True
        if self.kind == "number":
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            return is_whole and 1 <= value <= self.max_number  # type: ignore[operator]
        if not isinstance(value, str):
            return False
        return value in self.values if self.values else 1 <= len(value) <= self.max_characters

    def word(self, value: Value, language: Language) -> str:
        """The word to write for a value; the value itself where there is none."""
        words = self.values.get(str(value))
        return words.of(language)[0] if words else str(value)


class Vocabulary(msgspec.Struct, frozen=True):
    """All attributes of a shop's products, in the order in which descriptions name them."""

    attributes: tuple[Attribute, ...]

    def __getitem__(self, name: str) -> Attribute:
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise KeyError(name)

    def visible(self) -> tuple[Attribute, ...]:
        """The attributes that an image can show."""
        return tuple(attribute for attribute in self.attributes if attribute.visible)

    def schema(self, attributes: tuple[Attribute, ...]) -> dict[str, Any]:
        """The JSON schema of an object with exactly these attributes."""
        return {
            "type": "object",
            "properties": {attribute.name: attribute.schema() for attribute in attributes},
            "required": [attribute.name for attribute in attributes],
            "additionalProperties": False,
        }
