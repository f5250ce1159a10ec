"""Finds out what a model's chat template supports, and writes prompts with it.

What a template supports is seen in what it writes for sample conversations: nothing is assumed from
the model's name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from silkline.core import (
    Feature,
    Message,
    PromptOptions,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    join,
)
from silkline.engines.chat.calls import CallFormat, CallFrame
from silkline.engines.chat.parts import PLAIN, AnswerForm, AnswerParts
from silkline.engines.chat.turns import (
    PLAIN_TURNS,
    Content,
    TurnForm,
    tool_table,
    turns,
    usable_tools,
    variables,
)
from silkline.engines.prompt_text import SafeText
from silkline.errors import InvalidRequest

_THINK_TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"))
_END = "\ue000end\ue001"
"""Marks the end of a message that the answer continues."""

_ASKED, _SAID, _GIVEN = "What is asked?", "What is said.", "What is given."
_PROBE = Tool("probe_tool", "A probe.", '{"type": "object", "properties": {"key": {}}}')
_ARGUMENTS = {"key": "value"}
_CALL = ToolCall("call_of_the_probe", _PROBE.name, '{"key": "value"}')
_CALL_PATTERN = re.compile(_PROBE.name + r'(?P<middle>[^{<]*)\{\s*"key"\s*:\s*"value"\s*\}')
_USER = Message(Role.USER, (TextPart(_ASKED),))
_CALLS = Message(Role.ASSISTANT, (TextPart(""),), (_CALL,))
_RESULT = Message(Role.TOOL, (TextPart(_GIVEN),), tool_call_id=_CALL.id)


class TemplateRefusedError(Exception):
    """The chat template refuses a conversation, or fails."""


class Render(Protocol):
    """Runs a chat template."""

    def __call__(
        self,
        turns: list[dict[str, Any]],
        *,
        opens: bool,
        tools: list[dict[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> str:
        """Returns the prompt.

        Args:
            turns: The conversation.
            opens: Whether to open the assistant's next turn.
            tools: The tools; None if there are none.
            variables: Further variables of the template.

        Raises:
            TemplateRefusedError: The template refuses the conversation, or fails.
        """


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What a chat template supports.

    Attributes:
        calls: How the model writes calls of tools; None if the template has no tools, or the format
            is unknown.
        turns: How the template expects calls and their results.
        think: The tags around the reasoning; None if there is none.
        thinking: Whether it can make the model think.
        effort: Whether the model has levels of reasoning.
        prefill: Whether an answer can continue the last message.
        frame: The text around a call's name and arguments; None if calls cannot be forced, as the
            engine does not constrain answers or arguments are not written in JSON.
    """

    calls: CallFormat | None = None
    turns: TurnForm = PLAIN_TURNS
    think: tuple[str, str] | None = None
    thinking: bool = False
    effort: bool = False
    prefill: bool = False
    frame: CallFrame | None = None

    @property
    def features(self) -> frozenset[Feature]:
        """The features that the template supports."""
        found = {
            Feature.TOOLS: self.calls is not None,
            # Elsewhere the opening of a call is a special token, which no constraint can name.
            Feature.STRICT_TOOLS: self.frame is not None and self.calls is not CallFormat.MISTRAL,
            Feature.THINKING: self.thinking,
            Feature.EFFORT: self.effort,
            Feature.PREFILL: self.prefill,
        }
        return frozenset(feature for feature, supported in found.items() if supported)


class ChatTemplate:
    """A chat template with its format."""

    def __init__(
        self,
        render: Render,
        source: str,
        safe: SafeText,
        content: Content,
        *,
        constrains: bool = False,
    ) -> None:
        """Finds the format.

        Args:
            render: Runs the template.
            source: The template's source, in which tags are searched.
            safe: Breaks up special tokens in text from clients.
            content: Makes the content of a message.
            constrains: Whether the engine can constrain answers, which forced calls and strict
                tools need.
        """
        self._constrains = constrains
        self._run = render
        self._safe = safe
        self._content = content
        self.format = self._find(source)
        """What the template supports."""

    def write(self, messages: Sequence[Message], options: PromptOptions) -> str:
        """Returns the prompt of a conversation.

        Raises:
            InvalidRequest: The template does not support what the conversation has, or refuses it.
        """
        if options.raw:
            return self._safe.raw(messages)
        self._check(messages, options)
        messages = [*messages]
        if options.continues:
            last = messages[-1]
            messages[-1] = replace(last, parts=(*last.parts, TextPart(_END)))
        try:
            prompt = self._render(messages, options, self.format.turns)
        except TemplateRefusedError as error:
            raise _refused() from error
        if not options.continues:
            return prompt
        before, end, _ = prompt.rpartition(_END)
        if not end:
            raise _refused()
        return before

    def answer_form(self, options: PromptOptions, prompt: str) -> AnswerForm:
        """Returns what may be in the answer to a prompt that `write` returned."""
        if options.raw:
            return PLAIN
        tools = usable_tools(options)
        think = None if options.continues else self.format.think
        return AnswerForm(
            self.format.calls if tools else None,
            tools,
            options.parallel_tools,
            think,
            think is not None and _is_open(prompt, think),
            self.format.frame if tools else None,
            options.tool_choice is ToolChoice.REQUIRED,
        )

    def _check(self, messages: Sequence[Message], options: PromptOptions) -> None:
        has_calls = any(message.tool_calls or message.role is Role.TOOL for message in messages)
        if self.format.calls is None and (has_calls or usable_tools(options)):
            raise InvalidRequest(
                "The model's chat template has no tools, or has them in a format that is not "
                "known here. Leave out tools, tool calls and tool messages.",
                param="messages" if has_calls else "tools",
            )
        if options.tool_choice is ToolChoice.REQUIRED and self.format.frame is None:
            raise InvalidRequest(
                "No call of a tool can be forced here: the engine cannot constrain answers, or the "
                "model does not write arguments as JSON. Set tool_choice to auto or none.",
                param="tool_choice",
            )
        if options.continues and messages[-1].tool_calls:
            raise InvalidRequest(
                "An answer cannot continue a message with tool calls. Send their results.",
                param="messages",
            )

    def _render(self, messages: Sequence[Message], options: PromptOptions, form: TurnForm) -> str:
        tools = tool_table(usable_tools(options), self._safe)
        return self._run(
            turns(messages, self._safe, self._content, form),
            opens=not options.continues,
            tools=tools or None,
            variables=variables(options),
        )

    def _find(self, source: str) -> ChatFormat:
        calls, form, frame = self._find_calls()
        default = self._sample(PromptOptions())
        think = next((tags for tags in _THINK_TAGS if tags[1] in source), None)
        switches = self._differ(PromptOptions(thinking=True), PromptOptions(thinking=False))
        opens = think is not None and default is not None and _is_open(default, think)
        return ChatFormat(
            calls,
            form,
            think,
            think is not None and (opens or switches),
            self._differ(PromptOptions(effort="low"), PromptOptions(effort="high")),
            self._find_prefill(),
            frame,
        )

    def _find_calls(self) -> tuple[CallFormat | None, TurnForm, CallFrame | None]:
        """Tries the forms of turns until a call in the history parses back to the same call."""
        options = PromptOptions(tools=(_PROBE,))
        with_tools = self._sample(options)
        if with_tools is None or _PROBE.name not in with_tools:
            return None, PLAIN_TURNS, None
        said = self._attempt([_USER, Message(Role.ASSISTANT, (TextPart(_SAID),))], options)
        before = _between(said or "", _ASKED, _SAID)
        for form in itertools.starmap(TurnForm, itertools.product((False, True), repeat=3)):
            prompt = self._attempt([_USER, _CALLS, _RESULT], options, form) or ""
            written = _between(prompt, _ASKED, _GIVEN)
            if '"type": "text"' in prompt or "'type': 'text'" in prompt:
                continue  # the result's parts were printed, not written
            for calls in CallFormat:
                if _is_call(calls, written, before):
                    frame = _frame(calls, written.removeprefix(before))
                    return calls, form, frame if self._constrains else None
        return None, PLAIN_TURNS, None

    def _find_prefill(self) -> bool:
        last = Message(Role.ASSISTANT, (TextPart(_SAID + _END),))
        prompt = self._attempt([_USER, last], PromptOptions(continues=True))
        return prompt is not None and prompt.count(_SAID + _END) == 1

    def _differ(self, one: PromptOptions, other: PromptOptions) -> bool:
        prompts = self._sample(one), self._sample(other)
        return None not in prompts and prompts[0] != prompts[1]

    def _sample(self, options: PromptOptions) -> str | None:
        return self._attempt([_USER], options)

    def _attempt(
        self, messages: Sequence[Message], options: PromptOptions, form: TurnForm = PLAIN_TURNS
    ) -> str | None:
        try:
            return self._render(messages, options, form)
        except TemplateRefusedError:
            return None


def kept_tokens(form: AnswerForm, special: Mapping[int, str]) -> dict[int, str]:
    """Returns the special tokens that must be part of the answer's text, by id.

    Args:
        form: What may be in the answer.
        special: The tokenizer's special tokens, by id.
    """
    words = {*(form.calls.tokens if form.calls else ()), *(form.think or ())}
    return {number: text for number, text in special.items() if text in words}


def keeping(
    decode: Callable[[Sequence[int]], str], kept: Mapping[int, str]
) -> Callable[[Sequence[int]], str]:
    """Returns a function that decodes tokens as `decode` does, but writes the kept ones as text."""
    if not kept:
        return decode

    def decode_all(ids: Sequence[int]) -> str:
        groups = itertools.groupby(ids, lambda token: token in kept)
        return "".join(
            "".join(kept[token] for token in group) if is_kept else decode(list(group))
            for is_kept, group in groups
        )

    return decode_all


def _is_call(form: CallFormat, written: str, before: str) -> bool:
    """Whether the text between two turns, in this format, is a call of the probe.

    Args:
        form: The format.
        written: The text.
        before: What comes before the text of an assistant's turn.
    """
    text = written.removeprefix(before)
    if form is CallFormat.LLAMA and text == written and before:
        return False
    parts = AnswerParts(AnswerForm(form, (_PROBE,)))
    calls = join([parts.push(text), parts.finish()]).tool_calls
    if [call.name for call in calls] != [_PROBE.name] or '\\"' in written:
        return False
    try:
        return bool(msgspec.json.decode(calls[0].arguments) == _ARGUMENTS)
    except msgspec.MsgspecError:
        return False


def _frame(form: CallFormat, written: str) -> CallFrame | None:
    """The text around the name and the arguments in a call of the probe, if they are JSON."""
    opening = next((word for word in form.openings if word in written), "{")
    call = _CALL_PATTERN.search(written, written.index(opening))
    if call is None:
        return None
    start, middle = written[written.index(opening) : call.start()], call["middle"]
    end = "}" * (start + middle).count("{")
    if form is CallFormat.TAGGED:
        end = written[call.end() : written.index(form.tokens[1], call.end())] + form.tokens[1]
    if form is CallFormat.MISTRAL:
        end += "]" * start.removeprefix(opening).count("[")
    return CallFrame(start, middle, end)


def _is_open(prompt: str, think: tuple[str, str]) -> bool:
    return prompt.rstrip().endswith(think[0])


def _between(text: str, start: str, end: str) -> str:
    """The text between two others; empty if one of them is missing."""
    after = text.partition(start)[2]
    inside, found, _ = after.partition(end)
    return inside if found else ""


def _refused() -> InvalidRequest:
    return InvalidRequest(
        "The model's chat template refuses this conversation. Many templates need user and "
        "assistant messages to alternate, starting with the user, and some do not accept a system "
        "message.",
        param="messages",
    )
