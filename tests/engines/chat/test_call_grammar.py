"""Constraints on answers whose calls are forced or strict: what they allow parses back."""

import random
from dataclasses import replace
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.core import Constraint, ConstraintKind, Message, PromptOptions, Tool, ToolChoice, join
from silkline.engines.chat.call_grammar import constraint_of
from silkline.engines.chat.parts import PLAIN, AnswerForm, AnswerParts
from silkline.engines.chat.template import ChatTemplate
from silkline.engines.grammar import grammar_of
from silkline.engines.grammar.sample import sample
from silkline.engines.prompt_text import SafeText
from silkline.errors import InvalidRequest
from tests.engines.asking import user
from tests.engines.chat import templates
from tests.engines.chat.templates import Jinja

SCHEMA = {
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS = (
    Tool("get_weather", parameters=msgspec.json.encode(SCHEMA).decode(), strict=True),
    Tool("get_time", strict=True),
)
FORMATS = ("HERMES", "HERMES_WITH_TEXT", "THINKING", "ALWAYS_THINKING", "LLAMA", "MISTRAL")
YES = Constraint(ConstraintKind.REGEX, "yes|no")


def form_of(name: str, options: PromptOptions) -> AnswerForm:
    source, safe = getattr(templates, name), SafeText([])

    def content(message: Message) -> Any:
        return "".join(part for part in safe.parts(message) if isinstance(part, str))

    template = ChatTemplate(Jinja(source), source, safe, content, constrains=True)
    return template.answer_form(options, template.write([user("?")], options))


def allowed(form: AnswerForm, constraint: Constraint | None, seed: int) -> str:
    """A text that the constraint on the whole answer allows."""
    whole = constraint_of(form, constraint)
    assert whole is not None
    return sample(grammar_of(whole), random.Random(seed).randrange, max_chars=20_000)


def parts(form: AnswerForm, text: str) -> Any:
    stream = AnswerParts(form)
    return join([stream.push(text), stream.finish()])


@settings(deadline=None, max_examples=50)
@given(name=st.sampled_from(FORMATS), seed=st.integers(0, 10**6), parallel=st.booleans())
def test_forced_answers_are_calls_that_match(name: str, seed: int, parallel: bool) -> None:
    options = PromptOptions(TOOLS, ToolChoice.REQUIRED, parallel_tools=parallel)
    form = form_of(name, options)
    found = parts(form, allowed(form, None, seed))
    assert found.text == ""
    assert found.tool_calls
    assert parallel or len(found.tool_calls) == 1
    check(found)


@settings(deadline=None, max_examples=50)
@given(name=st.sampled_from([*FORMATS[:-1]]), seed=st.integers(0, 10**6))
def test_strict_tools_match_where_the_model_may_call_them(name: str, seed: int) -> None:
    form = form_of(name, PromptOptions(TOOLS))
    check(parts(form, allowed(form, None, seed)))


@settings(deadline=None, max_examples=50)
@given(name=st.sampled_from(FORMATS), seed=st.integers(0, 10**6))
def test_an_answer_with_a_form_is_that_or_calls(name: str, seed: int) -> None:
    form = form_of(name, PromptOptions(TOOLS))
    found = parts(form, allowed(form, YES, seed))
    assert found.text in {"yes", "no"} or (not found.text and found.tool_calls)
    check(found)


@pytest.mark.parametrize("name", ["THINKING", "ALWAYS_THINKING"])
def test_reasoning_comes_before_the_form(name: str) -> None:
    form = form_of(name, PromptOptions())
    found = [parts(form, allowed(form, YES, seed)) for seed in range(20)]
    assert {each.text for each in found} == {"yes", "no"}
    assert any(each.reasoning for each in found)


def test_a_named_tool_is_the_only_one() -> None:
    options = PromptOptions(TOOLS, ToolChoice.REQUIRED, "get_time", parallel_tools=False)
    form = form_of("HERMES", options)
    (call,) = parts(form, allowed(form, None, 0)).tool_calls
    assert call.name == "get_time"


def test_other_answers_keep_their_constraint() -> None:
    assert constraint_of(PLAIN, None) is None
    assert constraint_of(PLAIN, YES) is YES
    loose = form_of("HERMES", PromptOptions((Tool("f", parameters='{"type": "object"}'),)))
    assert constraint_of(loose, None) is None


def test_schemas_that_cannot_be_enforced() -> None:
    hard = Tool("f", parameters='{"properties": {"a": {"not": {}}}}')
    form = form_of("HERMES", PromptOptions((hard,), ToolChoice.REQUIRED))
    assert parts(form, allowed(form, None, 1)).tool_calls
    strict = replace(form, tools=(replace(hard, strict=True),))
    with pytest.raises(InvalidRequest, match="strict tool f") as refused:
        constraint_of(strict, None)
    assert refused.value.param == "tools"


def check(found: Any) -> None:
    for call in found.tool_calls:
        arguments = msgspec.json.decode(call.arguments)
        schema = SCHEMA if call.name == "get_weather" else {}
        jsonschema_rs.validate({"type": "object", **schema}, arguments)
