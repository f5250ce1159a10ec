"""What is kept of a request whose tenant's content is retained: messages, answers, images."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from silkline.core import Image, join
from silkline.engines.remote.png import encode_png
from silkline.ingress.identity import Identity
from silkline.service.details import Content


@dataclass(frozen=True, slots=True)
class File:
    """An image file.

    Attributes:
        digest: The digest of the image.
        media_type: Its media type.
        data: The file.
    """

    digest: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Packed:
    """Content in the form in which it is stored.

    Attributes:
        id: The id of its request.
        at: When that arrived, Unix time; it tells requests with the same id apart.
        tenant: The tenant.
        expires: Until when it is kept, Unix time.
        document: Messages, answers and image addresses, as JSON.
        digests: The digest of each image of the request.
        files: The images that were decoded for it.
    """

    id: str
    at: float
    tenant: str
    expires: float
    document: bytes
    digests: tuple[str, ...]
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Content as a request left it; `packed` brings it into its stored form.

    Attributes:
        id: As in `Packed`.
        at: As in `Packed`.
        tenant: As in `Packed`.
        expires: As in `Packed`.
        content: The content.
        images: The identities of the request's images.
        characters: Characters of text in its messages.
    """

    id: str
    at: float
    tenant: str
    expires: float
    content: Content
    images: tuple[Identity, ...]
    characters: int

    @property
    def size(self) -> int:
        """Bytes of its images and characters of its messages: an estimate of its memory."""
        files = (image.encoded.data for image in self.content.images if image.encoded is not None)
        pixels = (image.pixels for image in self.content.images)
        return sum(map(len, (*files, *pixels))) + self.characters

    def packed(self) -> Packed:
        """Encodes the content; takes up to 0.1 s for each image."""
        document = {
            "messages": self.content.messages,
            "addresses": self.content.addresses,
            "answers": [
                {"text": whole.text, "reasoning": whole.reasoning, "tool_calls": whole.tool_calls}
                for whole in (join(seen) for seen in self.content.answers if seen)
            ],
        }
        return Packed(
            self.id,
            self.at,
            self.tenant,
            self.expires,
            msgspec.json.encode(document),
            tuple(image.digest for image in self.images),
            tuple(map(_file, self.content.images)),
        )


def _file(image: Image) -> File:
    """The image as PNG: a client's own file could attack the viewer. It is kept if not decoded."""
    if image.encoded is not None and not image.pixels:
        return File(image.digest, image.encoded.media_type, image.encoded.data)
    return File(image.digest, "image/png", encode_png(image))
