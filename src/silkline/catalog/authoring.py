"""Descriptions that a model writes, for models that can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from silkline.catalog.description import Description, Style, Tone, description_schema
from silkline.catalog.product import Product
from silkline.catalog.reading import Message, image_messages, schema_format
from silkline.catalog.vocabulary import Language, Value, Vocabulary
from silkline.errors import EngineFailed

_LANGUAGES = {Language.ENGLISH: "English", Language.CHINESE: "Simplified Chinese"}
_TONES = {
    Tone.NEUTRAL: "factual and calm",
    Tone.FRIENDLY: "warm and close to the reader",
    Tone.FORMAL: "formal and restrained",
}


class Author(msgspec.Struct, frozen=True):
    """Asks a model for a whole description."""

    vocabulary: Vocabulary

    def messages(
        self, product: Product, seen: Mapping[str, Value], style: Style, image_url: str
    ) -> list[Message]:
        """The messages of a chat request. They contain no price: a description states none."""
        return image_messages(self._prompt(product, seen, style), image_url)

    def _prompt(self, product: Product, seen: Mapping[str, Value], style: Style) -> str:
        known = {name: value for name, value in product.attributes.items() if value is not None}
        read = {name: value for name, value in seen.items() if value is not None}
        parts = (
            f"a title, 1 to {style.length.max_bullets} bullets, the attributes, a text for people"
        )
        return f"""\
Write the description of this product for a web shop in {_LANGUAGES[style.language]}.
The tone is {_TONES[style.tone]}.
Write {parts} who cannot see the image, and tags.
The product table says: {msgspec.json.encode(known).decode()}
The image was read as: {msgspec.json.encode(read).decode()}
State only what the table says or the image shows. Where they differ, follow the table.
State no price, discount, guarantee, superlative or certificate, and no effect on health.
Reply with one JSON object."""

    def response_format(self, style: Style) -> dict[str, Any]:
        """The constraint on the answer."""
        return schema_format("description", description_schema(self.vocabulary, style))

    def parse(self, answer: str) -> Description:
        """The description in an answer; `checks` then says what is wrong with it.

        Raises:
            EngineFailed: The answer is no description, as when `max_tokens` cut it.
        """
        try:
            return msgspec.json.decode(answer, type=Description)
        except msgspec.DecodeError as error:
            raise EngineFailed(
                "The answer is not a description. Raise max_tokens, or ask again."
            ) from error
