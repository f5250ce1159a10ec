"""One question of the golden pack."""

from __future__ import annotations

from dataclasses import dataclass, field

from silkline.core import ImagePart, Message, Role, TextPart

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Case:
    """A user's message with one encoded picture or more.

    Attributes:
        name: Short and unique.
        title: What is special about it.
        parts: Text, and encoded pictures, in the order in which they are sent.
    """

    name: str
    title: str
    parts: tuple[str | bytes, ...] = field(repr=False)

    @property
    def images(self) -> tuple[bytes, ...]:
        """The encoded pictures, in order."""
        return tuple(part for part in self.parts if isinstance(part, bytes))

    @property
    def has_jpeg(self) -> bool:
        """Whether a picture is a JPEG: large ones are decoded at a fraction (decision 5)."""
        return any(data.startswith(_JPEG) for data in self.images)

    @property
    def message(self) -> Message:
        """As Silkline has it once the pictures are elsewhere."""
        parts: list[TextPart | ImagePart] = []
        images = 0
        for part in self.parts:
            if isinstance(part, str):
                parts.append(TextPart(part))
            else:
                parts.append(ImagePart(images))
                images += 1
        return Message(Role.USER, tuple(parts))
