"""The input items of the Responses API, and their conversion to messages.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from silkline.core import Message, Part, Role, TextPart, ToolCall
from silkline.gateway.faces.content import Content, read_content
from silkline.gateway.faces.image_fields import Images
from silkline.gateway.faces.tool_fields import Name

_MAX_PARTS = 1024
_MAX_ID_CHARS = 256

ItemId = Annotated[str, Meta(min_length=1, max_length=_MAX_ID_CHARS)]
_Status = Literal["in_progress", "completed", "incomplete"]


class _Body(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    pass


class MessageItem(_Body, frozen=True, tag_field="type", tag="message"):
    """A message. An item without a type is a message."""

    UNTAGGED: ClassVar[bool] = True

    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: ItemId | None = None
    status: _Status | None = None
    phase: str | None = None


class FunctionCallItem(_Body, frozen=True, tag_field="type", tag="function_call"):
    """A call of a function by the model, with its arguments as JSON text."""

    call_id: ItemId
    name: Name
    arguments: str
    id: ItemId | None = None
    status: _Status | None = None


class FunctionOutputItem(_Body, frozen=True, tag_field="type", tag="function_call_output"):
    """What a called function returned."""

    call_id: ItemId
    output: Content
    id: ItemId | None = None
    status: _Status | None = None


class SummaryText(_Body, frozen=True, tag_field="type", tag="summary_text"):
    """A summary of reasoning."""

    text: str


class ReasoningText(_Body, frozen=True, tag_field="type", tag="reasoning_text"):
    """The text of reasoning."""

    text: str


class ReasoningItem(_Body, frozen=True, tag_field="type", tag="reasoning"):
    """What the model thought before an answer: its text, or else its summary."""

    summary: Annotated[list[SummaryText], Meta(max_length=_MAX_PARTS)] | None = None
    content: Annotated[list[ReasoningText], Meta(max_length=_MAX_PARTS)] | None = None
    encrypted_content: str | None = None
    id: ItemId | None = None
    status: _Status | None = None

    @property
    def text(self) -> str:
        """The reasoning."""
        return "".join(part.text for part in self.content or self.summary or ())


class ItemReference(_Body, frozen=True, tag_field="type", tag="item_reference"):
    """An item of a stored response."""

    id: ItemId


Item = MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem
"""An item that holds its content itself."""

InputItem = Item | ItemReference


class Conversation:
    """Collects the messages of a conversation from its items.

    The items of an answer are one message: reasoning, then text, then tool calls.
    """

    def __init__(self, images: Images) -> None:
        """Begins without messages; `images` gets the images of all items."""
        self._images = images
        self._messages: list[Message] = []
        self._reasoning: list[str] = []
        self._parts: tuple[Part, ...] | None = None
        self._calls: list[ToolCall] = []

    def messages(self) -> tuple[Message, ...]:
        """The messages so far."""
        self._end_answer()
        return tuple(self._messages)

    def say(self, role: Role, text: str) -> None:
        """Adds a message of text."""
        self._end_answer()
        self._messages.append(Message(role, (TextPart(text),)))

    def add(self, item: Item, param: str) -> None:
        """Adds an item; `param` is its path in the body.

        Raises:
            InvalidRequest: An image's URL is invalid.
            UrlBlocked: An image's URL is not allowed.
        """
        match item:
            case FunctionCallItem():
                self._calls.append(ToolCall(item.call_id, item.name, item.arguments))
            case ReasoningItem():
                if self._parts is not None or self._calls:
                    self._end_answer()
                self._reasoning.append(item.text)
            case FunctionOutputItem():
                self._end_answer()
                parts = read_content(item.output, self._images, f"{param}.output")
                self._messages.append(Message(Role.TOOL, parts, tool_call_id=item.call_id))
            case MessageItem(role="assistant"):
                if self._parts is not None or self._calls:
                    self._end_answer()
                self._parts = read_content(item.content, self._images, f"{param}.content")
            case MessageItem():
                self._end_answer()
                role = Role.SYSTEM if item.role == "developer" else Role(item.role)
                parts = read_content(item.content, self._images, f"{param}.content")
                self._messages.append(Message(role, parts))

    def _end_answer(self) -> None:
        """Adds the message of an answer's items, if there are some."""
        reasoning = "".join(self._reasoning)  # joined once: many items would be copied each time
        self._reasoning.clear()
        if self._parts is None and not self._calls and not reasoning:
            return
        parts = (TextPart(""),) if self._parts is None else self._parts
        message = Message(Role.ASSISTANT, parts, tool_calls=tuple(self._calls), reasoning=reasoning)
        self._messages.append(message)
        self._parts = None
        self._calls.clear()
