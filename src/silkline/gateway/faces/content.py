"""The content of messages: text, images and documents, as the chat and Responses APIs have them.

Each API takes the parts of both.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from silkline.core import ImagePart, Part, TextPart
from silkline.errors import InvalidRequest
from silkline.gateway.faces.image_fields import FileData, ImageFields, Images, ImageUrl

_MAX_PARTS = 1024

PART_TYPES = (
    "text, image_url, image, file, refusal, input_text, input_image, input_file or output_text"
)
"""The types of parts, for errors."""


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class TextContent(_Body, frozen=True, tag_field="type", tag="text"):
    """Text in a message."""

    text: str


class InputText(TextContent, frozen=True, tag_field="type", tag="input_text"):
    """Text as in the Responses API."""


class RefusalContent(_Body, frozen=True, tag_field="type", tag="refusal"):
    """The text with which an assistant refused to answer."""

    refusal: str


class OutputText(_Body, frozen=True, tag_field="type", tag="output_text"):
    """Text of an answer of the Responses API; annotations and log-probabilities have no effect."""

    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class ImageContent(ImageFields, frozen=True, tag_field="type", tag="image_url"):
    """An image in a message."""

    image_url: str | ImageUrl


class InputImage(ImageContent, frozen=True, tag_field="type", tag="input_image"):
    """An image as in the Responses API."""


class QwenImage(ImageFields, frozen=True, tag_field="type", tag="image"):
    """An image as in the messages of Qwen's own library."""

    image: str


class FileContent(ImageFields, frozen=True, tag_field="type", tag="file"):
    """A document whose pages the model sees as images, or an image."""

    file: FileData


class InputFile(ImageFields, frozen=True, tag_field="type", tag="input_file"):
    """A document or an image as in the Responses API."""

    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None

    def part(self, images: Images, param: str) -> ImagePart:
        """Adds the file to `images`. Raises `InvalidRequest` unless there is exactly one."""
        if self.file_data is not None and self.file_url is None:
            return images.add_file(self.file_data, self, param, "file_data")
        if self.file_url is not None and self.file_data is None:
            return images.add(self.file_url, self, param, "file_url")
        raise InvalidRequest(
            f"The field {param} must have either file_data or file_url. Send exactly one of them.",
            param=param,
        )


ContentPart = (
    TextContent
    | InputText
    | OutputText
    | RefusalContent
    | ImageContent
    | InputImage
    | QwenImage
    | FileContent
    | InputFile
)

Content = str | Annotated[list[ContentPart], Meta(max_length=_MAX_PARTS)]


def read_content(content: Content, images: Images, param: str) -> tuple[Part, ...]:
    """Converts content to parts.

    Args:
        content: The content.
        images: Gets its images.
        param: The content's path in the body.

    Raises:
        InvalidRequest: An image's URL is invalid, or a file is not there exactly once.
        UrlBlocked: A URL is not allowed.
    """
    if isinstance(content, str):
        return (TextPart(content),)
    parts: list[Part] = []
    for index, item in enumerate(content):
        part = f"{param}.{index}"
        match item:
            case TextContent(text=text) | OutputText(text=text) | RefusalContent(refusal=text):
                parts.append(TextPart(text))
            case ImageContent(image_url=image):
                parts.append(images.add(image, item, part, "image_url"))
            case QwenImage(image=image):
                parts.append(images.add(image, item, part, "image"))
            case FileContent(file=file):
                parts.append(images.add_file(file.file_data, item, part, "file.file_data"))
            case InputFile():
                parts.append(item.part(images, part))
    return tuple(parts)
