"""Reads the calls of tools in an answer, in the formats that models write them.

A call starts when its name and the beginning of its arguments are there; its arguments are then
passed on as the model writes them. What does not start like a call is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from silkline.core import Tool
from silkline.engines.chat.call_list import CallList
from silkline.engines.chat.characters import Characters, Read
from silkline.errors import UNDECODABLE

WHITE_SPACE = " \t\r\n"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MAX_KEY = 256
_MAX_START = 4096
"""Maximum characters before a call has begun."""

_KEYS = frozenset({"name", "arguments", "parameters", "type", "id", "function"})
_LITERALS = {"True": "true", "False": "false", "None": "null"}
"""Python's spelling of some values, which models mix up with JSON's."""


class CallFormat(StrEnum):
    """How a model writes calls."""

    TAGGED = "tagged"
    """JSON, or Qwen's XML, between `<tool_call>` and `</tool_call>`."""
    LLAMA = "llama"
    """The whole answer is JSON with the name of a tool; `<|python_tag|>` may come before it."""
    MISTRAL = "mistral"
    """A JSON array, or a name, `[ARGS]` and JSON, after `[TOOL_CALLS]`."""

    @property
    def openings(self) -> tuple[str, ...]:
        """The words before a call."""
        return _OPENINGS[self]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The words that may be special tokens, which must be part of the answer's text."""
        return _TOKENS[self]


_OPENINGS = {
    CallFormat.TAGGED: ("<tool_call>",),
    CallFormat.LLAMA: ("<|python_tag|>",),
    CallFormat.MISTRAL: ("[TOOL_CALLS]",),
}
_TOKENS = {
    CallFormat.TAGGED: ("<tool_call>", "</tool_call>"),
    CallFormat.LLAMA: ("<|python_tag|>",),
    CallFormat.MISTRAL: ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
}


@dataclass(frozen=True, slots=True)
class CallFrame:
    """The text around the name and the JSON arguments of a call, as the chat template writes it.

    Attributes:
        start: Before the name.
        middle: Between the name and the arguments.
        end: After the arguments.
    """

    start: str
    middle: str
    end: str


class NotACallError(Exception):
    """What was read is not a call."""


class CallReader:
    """Reads calls from the characters of an answer."""

    def __init__(
        self,
        characters: Characters,
        calls: CallList,
        form: CallFormat,
        tools: Sequence[Tool],
        *,
        parallel: bool,
    ) -> None:
        """Reads calls of a format.

        Args:
            characters: The answer.
            calls: Gets the calls.
            form: The format.
            tools: The tools that the model may call.
            parallel: Whether to read several calls; else reading ends after the first.
        """
        self._text = characters
        self._calls = calls
        self._form = form
        self._tools = {tool.name: tool for tool in tools}
        self._parallel = parallel

    @property
    def full(self) -> bool:
        """Whether all calls that are allowed have been read."""
        return self._calls.count > 0 and not self._parallel

    def read(self) -> Read[None]:
        """Reads one or more calls after their opening.

        Raises:
            NotACallError: It is not a call, or the next one is not; what was read since the last
                mark of the characters is text.
            TooLongError: Likewise, as no call has begun after many characters.
        """
        self._text.mark(_MAX_START)
        match self._form:
            case CallFormat.TAGGED:
                yield from self._tagged()
            case CallFormat.LLAMA:
                yield from self._objects(WHITE_SPACE + ";")
            case CallFormat.MISTRAL:
                yield from self._after_mark()

    def _tagged(self) -> Read[None]:
        yield from self._space()
        if (yield from self._text.match(("<function=",))):
            yield from self._xml()
        else:
            yield from self._object()
        yield from self._text.skip(WHITE_SPACE + "}")  # some models close a brace too many
        yield from self._text.match(("</tool_call>",))

    def _after_mark(self) -> Read[None]:
        """Reads what follows `[TOOL_CALLS]`."""
        yield from self._space()
        if (yield from self._text.match(("[",))):
            yield from self._objects(WHITE_SPACE + ",")
            yield from self._space()
            yield from self._text.match(("]",))
            return
        name = ""
        while not (begins := (yield from self._text.match(("[CALL_ID]", "[ARGS]", "{")))):
            char = yield from self._text.next()
            name += char
            self._check(name)
            if not char:
                raise NotACallError
        if begins == "[CALL_ID]":
            yield from self._text.until("[ARGS]", _MAX_KEY)
        if begins != "{":
            yield from self._expect("{")
        self._check(name)
        self._begin(name)
        self._calls.add("{")
        yield from self._rest(self._calls.add)

    def _objects(self, separators: str) -> Read[None]:
        """Reads JSON objects, each a call; the next is read if it begins after the separators."""
        while True:
            yield from self._object()
            self._text.mark(_MAX_START)
            yield from self._text.skip(separators)
            yield from self._text.match(self._form.openings)
            yield from self._space()
            if self.full or not (yield from self._text.match(("{",))):
                self._text.rewind()
                return
            self._text.unread("{")

    def _object(self, *, nested: bool = False) -> Read[None]:
        """Reads a call as a JSON object with `name` and `arguments` or `parameters`."""
        yield from self._expect("{")
        name = arguments = ""
        while True:
            key = yield from self._string()
            yield from self._expect(":")
            yield from self._space()
            opens = bool((yield from self._text.match(("{",))))
            if opens:
                self._text.unread("{")
            if key == "name" and not opens:
                name = yield from self._string()
                self._check(name)
            elif key == "function" and opens and not nested:
                yield from self._object(nested=True)
                yield from self._close()
                return
            elif key in {"arguments", "parameters"} and opens and name:
                self._begin(name)
                yield from self._value(self._calls.add)
                yield from self._close()
                return
            elif key in {"arguments", "parameters"}:
                arguments = yield from self._literal()
            elif key in _KEYS:
                yield from self._literal()
            else:
                raise NotACallError
            yield from self._space()
            if not (yield from self._text.match((",",))):
                break
        yield from self._expect("}")
        self._check(name)
        whole = _as_object(arguments)
        self._begin(name)
        self._calls.add(whole)

    def _close(self) -> Read[None]:
        """Reads the rest of a call's object after its arguments."""
        yield from self._space()
        if (yield from self._text.match((",", "}"))) == ",":
            yield from self._rest(_drop)

    def _xml(self) -> Read[None]:
        """Reads a call as `<function=name>` with a `<parameter=key>` for each argument."""
        name, named = yield from self._text.until(">", _MAX_KEY)
        if not named:
            raise NotACallError
        self._check(name)
        types = _types(self._tools.get(name))
        self._begin(name)
        self._calls.add("{")
        separator = ""
        while True:
            yield from self._space()
            tag = yield from self._text.match(("<parameter=", "</function>", "</tool_call>"))
            if tag == "</tool_call>":
                self._text.unread(tag)
            if tag != "<parameter=":
                break
            key, named = yield from self._text.until(">", _MAX_KEY)
            if not named:
                return
            value, ended = yield from self._text.until("</parameter>")
            value = value.removeprefix("\n").removesuffix("\n")
            encoded = _encoded(value, types.get(key))
            self._calls.add(separator + _json(key) + ": ")
            self._calls.add(encoded if ended else encoded.removesuffix('"'))
            if not ended:
                return
            separator = ", "
        if tag:  # else the answer was cut
            self._calls.add("}")

    def _begin(self, name: str) -> None:
        self._text.release()
        self._calls.begin(name)

    def _check(self, name: str) -> None:
        """Checks a name; JSON without an opening is a call only if it names one of the tools."""
        known = self._form is not CallFormat.LLAMA or name in self._tools
        if not known or not _NAME.fullmatch(name):
            raise NotACallError

    def _space(self) -> Read[None]:
        yield from self._text.skip(WHITE_SPACE)

    def _expect(self, char: str) -> Read[None]:
        yield from self._space()
        if not (yield from self._text.match((char,))):
            raise NotACallError

    def _string(self) -> Read[str]:
        literal = yield from self._literal()
        try:
            return msgspec.json.decode(literal, type=str)
        except UNDECODABLE as error:
            raise NotACallError from error

    def _literal(self) -> Read[str]:
        """Reads a whole JSON value as it is written."""
        yield from self._space()
        written: list[str] = []
        if not (yield from self._value(written.append)):
            raise NotACallError
        return "".join(written)

    def _value(self, add: Callable[[str], None]) -> Read[bool]:
        """Reads a JSON value and passes it on; returns whether its end was there."""
        char = yield from self._text.next()
        add(char)
        if char in {"{", "["}:
            return (yield from self._rest(add))
        if char == '"':
            return (yield from self._rest_of_string(add))
        while char and char not in ",}]":
            char = yield from self._text.next()
            if char in {",", "}", "]"}:
                self._text.unread(char)
                return True
            add(char)
        return False

    def _rest(self, add: Callable[[str], None]) -> Read[bool]:
        """Reads the rest of an object or array that has begun."""
        depth = 1
        while depth:
            char = yield from self._text.next()
            if not char:
                return False
            add(char)
            if char == '"' and not (yield from self._rest_of_string(add)):
                return False
            depth += (char in "{[") - (char in "}]")
        return True

    def _rest_of_string(self, add: Callable[[str], None]) -> Read[bool]:
        while True:
            char = yield from self._text.next()
            add(char)
            if char == "\\":
                add((yield from self._text.next()))
            elif char == '"' or not char:
                return bool(char)


def _drop(_: str) -> None:
    pass


def _as_object(literal: str) -> str:
    """Arguments as the text of a JSON object; some models write that text as a string."""
    if literal.strip() in {"", "null"}:
        return "{}"
    try:
        value = msgspec.json.decode(literal)
        text = value if isinstance(value, str) else literal
        msgspec.json.decode(text, type=dict[str, Any])
    except UNDECODABLE as error:
        raise NotACallError from error
    return text


def _types(tool: Tool | None) -> dict[str, object]:
    """The JSON types of a tool's arguments, by name."""
    schema = msgspec.json.decode(tool.parameters) if tool and tool.parameters else {}
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {
        key: value.get("type", "any")
        for key, value in properties.items()
        if isinstance(value, dict)
    }


def _encoded(value: str, kind: object) -> str:
    """Encodes an argument written as text; it is JSON unless the schema says that it is text."""
    if kind is None or kind == "string":
        return _json(value)
    try:
        return _json(msgspec.json.decode(_LITERALS.get(value, value)))
    except UNDECODABLE:
        return _json(value)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
