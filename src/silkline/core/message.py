"""Messages: text, images and tool calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """The role of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image file.

    Attributes:
        data: The file.
        media_type: Its media type, such as `image/jpeg`.
    """

    data: bytes = field(repr=False)
    media_type: str


@dataclass(frozen=True, slots=True)
class Image:
    """A normalised image: upright, opaque, 8 bits per channel.

    Attributes:
        width: Pixels in a row, at least 1.
        height: Rows, at least 1.
        pixels: RGB bytes, row by row from the top left, exactly `width * height * 3` of them; empty
            if only `encoded` is sent to an engine.
        digest: Hex digest of mode, size and pixels; equal digests mean equal images. That of a file
            that was not decoded is `file:` and the hex digest of the file.
        encoded: Its file, if any decoder gets these pixels from it: no normalisation changes it.
            None otherwise, if the file is larger than the pixels, or if no remote server is set to
            get it.
    """

    width: int
    height: int
    pixels: bytes = field(repr=False)
    digest: str
    encoded: EncodedImage | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text in a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image in a message; `index` is its index in `Request.images`, from 0."""

    index: int


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool by the model.

    Attributes:
        id: Identifies the call; the `tool` message with its result names it.
        name: The tool's name.
        arguments: The arguments as JSON text, as the model wrote it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: text and images in the order in which they were sent.

    Attributes:
        role: Who wrote it.
        parts: Its text and images.
        tool_calls: An assistant's calls of tools.
        tool_call_id: The call that a `tool` message answers; empty in all others.
        reasoning: What an assistant thought before its answer; empty if unknown.
    """

    role: Role
    parts: tuple[Part, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    reasoning: str = ""
