"""The messages of the Anthropic API, as lists of content blocks, and their conversion.

https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from silkline.core import ImagePart, Message, Part, Role, TextPart, ToolCall
from silkline.errors import InvalidRequest
from silkline.gateway.faces.constraints import as_json
from silkline.gateway.faces.tool_fields import Name
from silkline.ingress.source import Source, parse_base64, parse_url

_MAX_BLOCKS = 1024
_MAX_ID_CHARS = 256
_GAP = TextPart("\n\n")
"""Separates a document from what follows, and the texts of two messages that become one."""

_ERROR_MARK = TextPart("Error:\n")
"""Precedes the result of a tool that failed: chat templates have no other way to say so."""

_Id = Annotated[str, Meta(min_length=1, max_length=_MAX_ID_CHARS)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class TextBlock(_Body, frozen=True, tag_field="type", tag="text"):
    """Text in a message."""

    text: str


class Base64Source(_Body, frozen=True, tag_field="type", tag="base64"):
    """A file in Base64. The format is detected from its bytes; `media_type` has no effect."""

    data: str
    media_type: str | None = None


class UrlSource(_Body, frozen=True, tag_field="type", tag="url"):
    """A file at an http, https or data URL."""

    url: str


class TextSource(_Body, frozen=True, tag_field="type", tag="text"):
    """A document that is plain text."""

    data: str
    media_type: str | None = None


class ImageBlock(_Body, frozen=True, tag_field="type", tag="image"):
    """An image in a message or a tool result."""

    source: Base64Source | UrlSource


_Plain = Annotated[list[TextBlock | ImageBlock], Meta(max_length=_MAX_BLOCKS)]


class BlockSource(_Body, frozen=True, tag_field="type", tag="content"):
    """A document that consists of texts and images."""

    content: str | _Plain


class DocumentBlock(_Body, frozen=True, tag_field="type", tag="document"):
    """A text, or a PDF whose pages the model sees as images, after its title and context."""

    source: TextSource | BlockSource | Base64Source | UrlSource
    title: str | None = None
    context: str | None = None


class ThinkingBlock(_Body, frozen=True, tag_field="type", tag="thinking"):
    """What an assistant thought; the signature is not checked."""

    thinking: str
    signature: str | None = None


class RedactedBlock(_Body, frozen=True, tag_field="type", tag="redacted_thinking"):
    """Thinking that another server encrypted; it has no effect here."""

    data: str | None = None


class ToolUseBlock(_Body, frozen=True, tag_field="type", tag="tool_use"):
    """A call of a tool in an assistant's message."""

    id: _Id
    name: Name
    input: dict[str, Any]


_Result = Annotated[list[TextBlock | ImageBlock | DocumentBlock], Meta(max_length=_MAX_BLOCKS)]


class ToolResultBlock(_Body, frozen=True, tag_field="type", tag="tool_result"):
    """The result of a tool's call in a user's message."""

    tool_use_id: _Id
    content: str | _Result | None = None
    is_error: bool | None = None


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | ThinkingBlock
    | RedactedBlock
    | ToolUseBlock
    | ToolResultBlock
)
Blocks = Annotated[list[Block], Meta(max_length=_MAX_BLOCKS)]

BLOCK_TYPES = "text, image, document, thinking, redacted_thinking, tool_use or tool_result"

_ONLY_FROM: dict[type[Struct], str] = {
    ThinkingBlock: "assistant",
    RedactedBlock: "assistant",
    ToolUseBlock: "assistant",
    ToolResultBlock: "user",
}


class ClientMessage(_Body, frozen=True):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | Blocks


class Conversation:
    """Converts messages with blocks.

    A result of a tool becomes a message of its own, of the role `tool`. Consecutive messages of
    the user, or of the assistant, become one.

    Attributes:
        sources: The sources of the images.
    """

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self._messages: list[Message] = []

    def messages(self) -> tuple[Message, ...]:
        """The converted messages."""
        turns: list[Message] = []
        for role, group in itertools.groupby(self._messages, lambda message: message.role):
            found = list(group)
            turns += [_joined(found)] if role in _JOINED else found
        return tuple(turns)

    def add_system(self, content: str | Sequence[TextBlock]) -> None:
        """Adds the system prompt."""
        texts = [content] if isinstance(content, str) else [block.text for block in content]
        self._messages.append(Message(Role.SYSTEM, tuple(map(TextPart, texts))))

    def add(self, message: ClientMessage, param: str) -> None:
        """Adds a message; `param` is its path in the body.

        Raises:
            InvalidRequest: A block is not supported, or not in a message of this role.
            UrlBlocked: The URL of an image is not allowed.
        """
        role, content = Role(message.role), message.content
        if isinstance(content, str):
            self._messages.append(Message(role, (TextPart(content),)))
            return
        parts: list[Part] = []
        calls: list[ToolCall] = []
        thoughts: list[str] = []
        for index, block in enumerate(content):
            at = f"{param}.content.{index}"
            _check_role(block, role, at)
            match block:
                case ToolResultBlock():
                    self._flush(role, parts)
                    self._messages.append(self._result(block, at))
                case ToolUseBlock():
                    arguments = as_json(block.input)
                    calls.append(ToolCall(block.id, block.name, arguments))
                case ThinkingBlock():
                    thoughts.append(block.thinking)
                case RedactedBlock():
                    pass
                case _:
                    parts += self._parts(block, at)
        if role is Role.ASSISTANT:
            said = tuple(parts) or (TextPart(""),)
            reasoning = "\n".join(thoughts)
            self._messages.append(Message(role, said, tuple(calls), reasoning=reasoning))
        else:
            self._flush(role, parts)

    def _flush(self, role: Role, parts: list[Part]) -> None:
        if parts:
            self._messages.append(Message(role, tuple(parts)))
            parts.clear()

    def _result(self, block: ToolResultBlock, at: str) -> Message:
        parts = self._all_parts(block.content or "", f"{at}.content")
        mark = [_ERROR_MARK] if block.is_error else []
        return Message(Role.TOOL, (*mark, *parts), tool_call_id=block.tool_use_id)

    def _all_parts(self, content: str | _Result | _Plain, at: str) -> list[Part]:
        if isinstance(content, str):
            return [TextPart(content)]
        return [
            part
            for index, block in enumerate(content)
            for part in self._parts(block, f"{at}.{index}")
        ]

    def _parts(self, block: TextBlock | ImageBlock | DocumentBlock, at: str) -> list[Part]:
        match block:
            case TextBlock(text=text):
                return [TextPart(text)]
            case ImageBlock(source=source):
                return [self._file(source, f"{at}.source")]
        heads = [f"{text}\n\n" for text in (block.title, block.context) if text]
        return [*map(TextPart, heads), *self._document(block, f"{at}.source")]

    def _document(self, block: DocumentBlock, at: str) -> list[Part]:
        match block.source:
            case TextSource(data=text):
                return [TextPart(text), _GAP]
            case BlockSource(content=content):
                return [*self._all_parts(content, f"{at}.content"), _GAP]
            case Base64Source() | UrlSource() as source:
                return [self._file(source, at)]

    def _file(self, source: Base64Source | UrlSource, at: str) -> ImagePart:
        """Adds an image, or a document whose pages the model sees as images."""
        if isinstance(source, UrlSource):
            self.sources.append(parse_url(source.url, param=f"{at}.url"))
        else:
            self.sources.append(parse_base64(source.data, param=f"{at}.data"))
        return ImagePart(len(self.sources) - 1)


_JOINED = {Role.USER, Role.ASSISTANT}


def _check_role(block: Block, role: Role, at: str) -> None:
    expected = _ONLY_FROM.get(type(block))
    if role is Role.SYSTEM and not isinstance(block, TextBlock):
        raise InvalidRequest(
            f"The block {at} is not a text. A system message has only texts.", param=at
        )
    if expected is not None and role.value != expected:
        raise InvalidRequest(
            f"The block {at} belongs in a message of the {expected}. Move it there.", param=at
        )


def _joined(messages: Sequence[Message]) -> Message:
    """Joins messages of one role."""
    parts: list[Part] = []
    after_text = False
    for message in messages:
        has_text = _has_text(message)
        if after_text and has_text:
            parts.append(_GAP)
        parts += message.parts
        after_text = after_text or has_text
    return Message(
        messages[0].role,
        tuple(parts),
        tuple(call for message in messages for call in message.tool_calls),
        reasoning="\n".join(message.reasoning for message in messages if message.reasoning),
    )


def _has_text(message: Message) -> bool:
    return any(isinstance(part, TextPart) and part.text for part in message.parts)
