"""The question about a product's image, and the attributes in its answer.

The question never contains what the table says: a model that knows the expected colour agrees with
it. It is also the same for all products, so that a server's cache answers it for an image that it
has seen, whatever the record says now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from silkline.catalog.vocabulary import Value, Vocabulary
from silkline.errors import EngineFailed

Message = dict[str, Any]
"""A message of a chat request, as OpenAI has it."""


class Reading(msgspec.Struct, frozen=True):
    """Asks a model for the visible attributes of one product.

    Attributes:
        vocabulary: The attributes.
        question: The prompt; empty for one that lists the attributes and their values.
    """

    vocabulary: Vocabulary
    question: str = ""

    def prompt(self) -> str:
        """The prompt."""
        if self.question:
            return self.question
        lines = [
            f"- {one.name}: " + (", ".join(one.values) if one.values else f"a {one.kind}")
            for one in self.vocabulary.visible()
        ]
        request = (
            "Read these attributes of the product from the image. Write null for what the image "
            "does not show. Reply with one JSON object."
        )
        return "\n".join((request, *lines))

    def messages(self, image_url: str) -> list[Message]:
        """The messages of a chat request about an image, by its https or data URL."""
        return image_messages(self.prompt(), image_url)

    def response_format(self) -> dict[str, Any]:
        """The constraint on the answer."""
        return schema_format("attributes", self.vocabulary.schema(self.vocabulary.visible()))

    def parse(self, answer: str) -> dict[str, Value]:
        """The attributes in an answer.

        Raises:
            EngineFailed: The answer does not match the schema, as when `max_tokens` cut it.
        """
        try:
            seen = msgspec.json.decode(answer)
        except msgspec.DecodeError as error:
            raise EngineFailed("The answer is not JSON. Raise max_tokens, or ask again.") from error
        attributes = self.vocabulary.visible()
        if not isinstance(seen, Mapping) or set(seen) != {one.name for one in attributes}:
            raise EngineFailed("The answer does not have exactly the attributes that were asked.")
        for one in attributes:
            if not one.allows(seen[one.name]):
                raise EngineFailed(f"The answer has a value of {one.name} that is not allowed.")
        return dict(seen)


def image_messages(prompt: str, image_url: str) -> list[Message]:
    """One message of a user, with an image before the text."""
    image = {"type": "image_url", "image_url": {"url": image_url}}
    return [{"role": "user", "content": [image, {"type": "text", "text": prompt}]}]


def schema_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The `response_format` of a chat request that is held to a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
