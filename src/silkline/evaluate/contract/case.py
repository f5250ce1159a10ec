"""A case of the golden pack."""

from __future__ import annotations

from dataclasses import dataclass, field

from silkline.core import ImagePart, Message, Role, TextPart

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Case:
    """A user message with one or more encoded images.

    Attributes:
        name: Short and unique.
        title: What is special about it, in a few words.
        parts: Texts and encoded images, in the order in which they are sent.
    """

    name: str
    title: str
    parts: tuple[str | bytes, ...] = field(repr=False)

    @property
    def images(self) -> tuple[bytes, ...]:
        """The encoded images, in order."""
        return tuple(part for part in self.parts if isinstance(part, bytes))

    @property
    def has_jpeg(self) -> bool:
        """Whether an image is a JPEG: large JPEGs are decoded at a fraction (decision 5)."""
        return any(data.startswith(_JPEG) for data in self.images)

    @property
    def message(self) -> Message:
        """The message in Silkline's form, with indexes in place of the images."""
        parts: list[TextPart | ImagePart] = []
        images = 0
        for part in self.parts:
            if isinstance(part, str):
                parts.append(TextPart(part))
            else:
                parts.append(ImagePart(images))
                images += 1
        return Message(Role.USER, tuple(parts))
