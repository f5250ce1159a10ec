"""The constraint on an answer whose calls are forced, or that has reasoning before its form.

The constraint of a request describes the text of the answer alone. What an engine enforces is the
whole answer: reasoning, then text or calls, in the format in which the model writes them.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from silkline.core import Constraint, ConstraintKind, Tool
from silkline.engines.chat.calls import WHITE_SPACE, CallFormat, CallFrame
from silkline.engines.chat.parts import AnswerForm
from silkline.engines.chat.turns import arguments_schema
from silkline.engines.deadline import in_time
from silkline.engines.grammar import charsets, ebnf, grammar_of
from silkline.engines.grammar.json_schema import any_object, from_schema
from silkline.engines.grammar.nodes import (
    EMPTY,
    Chars,
    Choice,
    Grammar,
    Literal,
    Node,
    Ref,
    Repeat,
    Series,
    choice,
    optional,
    series,
)
from silkline.engines.grammar.refusal import Unsupported
from silkline.errors import InvalidRequest

_ANY = Repeat(Chars(charsets.complement(())), 0, None)
_SPACE = Repeat(Chars(charsets.of(WHITE_SPACE)), 0, 4)

_MAX_SECONDS = 2.0


async def constraint_in_time(
    form: AnswerForm, constraint: Constraint | None, deadline: float
) -> Constraint | None:
    """Returns `constraint_of`, computed in a thread.

    Raises:
        InvalidRequest: See `constraint_of`.
        DeadlineExceeded: It took 2 s, or the deadline, on the event loop's clock, has passed.
    """
    if not _changes(form, constraint):
        return constraint
    built = asyncio.to_thread(constraint_of, form, constraint)
    limit = min(deadline, asyncio.get_running_loop().time() + _MAX_SECONDS)
    return await in_time(built, limit, until="the form of its answer was compiled")


def constraint_of(form: AnswerForm, constraint: Constraint | None) -> Constraint | None:
    """Returns the constraint on a whole answer; None if it may be any text.

    Args:
        form: What may be in the answer.
        constraint: The client's constraint on its text.

    Raises:
        InvalidRequest: The schema of a strict tool, or the client's constraint, cannot be enforced.
    """
    if not _changes(form, constraint):
        return constraint
    frame = form.frame
    rules: dict[str, Node] = {}
    calls = None if frame is None else _calls(form, frame, rules)
    text: Node | None = None
    if constraint is not None:
        text = _added(grammar_of(constraint), "text-", rules)
    rules["root"] = series(_reasoning(form), _answer(form, text, calls))
    return Constraint(ConstraintKind.GRAMMAR, ebnf.write(Grammar(rules)))


def _changes(form: AnswerForm, constraint: Constraint | None) -> bool:
    """Whether the constraint on a whole answer is another than the client's on its text."""
    forces = form.required or any(tool.strict for tool in form.tools)
    return (form.frame is not None and forces) or (constraint is not None and not form.is_plain)


def _answer(form: AnswerForm, text: Node | None, calls: Node | None) -> Node:
    """The answer after its reasoning."""
    if calls is None or form.calls is None:
        return _ANY if text is None else text
    if form.required:
        return calls
    if text is not None:
        return choice(text, calls)
    if form.calls is CallFormat.LLAMA:
        other = Chars(charsets.complement(charsets.of(WHITE_SPACE + "{<")))
        return choice(calls, series(_SPACE, other, _ANY), EMPTY)
    return series(_without(form.calls.openings[0]), optional(calls))


def _calls(form: AnswerForm, frame: CallFrame, rules: dict[str, Node]) -> Node:
    """One or more calls of the tools."""
    alternatives = [
        series(
            Literal(frame.start + tool.name + frame.middle),
            _added(_arguments(tool), f"tool{index}-", rules),
            Literal(frame.end),
        )
        for index, tool in enumerate(form.tools)
    ]
    rules["call"] = choice(*alternatives)
    if not form.parallel or form.calls is not CallFormat.TAGGED:
        return Ref("call")
    return series(Ref("call"), Repeat(series(Literal("\n"), Ref("call")), 0, None))


def _arguments(tool: Tool) -> Grammar:
    """The arguments of a tool; any object if it is not strict and its schema is not supported."""
    try:
        return from_schema(arguments_schema(tool))
    except Unsupported as error:
        if not tool.strict:
            return any_object()
        raise InvalidRequest(
            f"The schema of the strict tool {tool.name} {error}", param="tools"
        ) from error


def _reasoning(form: AnswerForm) -> Node:
    """The reasoning, which must come first if the prompt has opened it."""
    if form.think is None:
        return EMPTY
    opening, closing = form.think
    rest = series(_without(closing), Literal(closing), _SPACE)
    return rest if form.thinking else optional(series(Literal(opening), rest))


def _without(word: str) -> Node:
    """Any text without a word, whose first character is not in it again."""
    others = Repeat(Chars(charsets.complement(charsets.of(word[0]))), 0, None)
    return series(others, Repeat(series(Literal(word[0]), _unlike(word[1:], word[0])), 0, None))


def _unlike(word: str, first: str) -> Node:
    """Any text without the character `first` that does not start with a word."""
    others = Repeat(Chars(charsets.complement(charsets.of(first))), 0, None)
    different: Node = series(Chars(charsets.complement(charsets.of(first + word[0]))), others)
    if len(word) > 1:
        different = choice(different, series(Literal(word[0]), _unlike(word[1:], first)))
    return optional(different)


def _added(grammar: Grammar, prefix: str, rules: dict[str, Node]) -> Node:
    """Adds the rules of a grammar under names with a prefix, and returns its root."""
    rules.update({prefix + name: _renamed(rule, prefix) for name, rule in grammar.rules.items()})
    return Ref(prefix + grammar.root)


def _renamed(node: Node, prefix: str) -> Node:
    if isinstance(node, Ref):
        return Ref(prefix + node.name)
    if isinstance(node, Series | Choice):
        return replace(node, items=tuple(_renamed(item, prefix) for item in node.items))
    if isinstance(node, Repeat):
        return replace(node, item=_renamed(node.item, prefix))
    return node
