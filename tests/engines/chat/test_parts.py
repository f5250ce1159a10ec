"""How answers are split into reasoning, text and calls."""

import itertools
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from silkline.core import Delta, Request, Sampling, Tool, join
from silkline.engines.chat.calls import CallFormat
from silkline.engines.chat.parts import PLAIN, AnswerForm, AnswerParts, call_ids
from tests.engines.asking import picture, question

THINK = ("<think>", "</think>")
TOOLS = (
    Tool("f", parameters='{"properties": {"n": {"type": "integer"}, "s": {"type": "string"}}}'),
    Tool("g"),
)
TAGGED = AnswerForm(CallFormat.TAGGED, TOOLS, think=THINK)
LLAMA = AnswerForm(CallFormat.LLAMA, TOOLS)
MISTRAL = AnswerForm(CallFormat.MISTRAL, TOOLS, think=("[THINK]", "[/THINK]"))
FORMS = {"tagged": TAGGED, "llama": LLAMA, "mistral": MISTRAL, "plain": PLAIN}

Parts = tuple[str, str, list[tuple[str, str]]]


def deltas(form: AnswerForm, chunks: list[str]) -> list[Delta]:
    parts = AnswerParts(form)
    return [*map(parts.push, chunks), parts.finish()]


def parts(form: AnswerForm, *chunks: str) -> Parts:
    """Reasoning, text, and the name and arguments of each call."""
    whole = join([*deltas(form, list(chunks)), Delta("")])
    calls = [(call.name, call.arguments) for call in whole.tool_calls]
    assert [call.index for call in whole.tool_calls] == list(range(len(calls)))
    return whole.reasoning, whole.text, calls


HERMES = '<tool_call>\n{"name": "f", "arguments": {"n": 1}}\n</tool_call>'
XML = (
    "<tool_call>\n<function=f>\n<parameter=n>\n12\n</parameter>\n<parameter=s>\n12\n"
    "</parameter>\n</function>\n</tool_call>"
)
CASES: dict[str, tuple[AnswerForm, str, Parts]] = {
    "a call": (TAGGED, HERMES, ("", "", [("f", '{"n": 1}')])),
    "text before and after": (
        TAGGED,
        f"Let me see.\n{HERMES}\nDone.",
        ("", "Let me see.\n\nDone.", [("f", '{"n": 1}')]),
    ),
    "two calls": (TAGGED, f"\n{HERMES}\n{HERMES}\n", ("", "", [("f", '{"n": 1}')] * 2)),
    "reasoning, then text": (
        TAGGED,
        "<think>\nOne </thing>\n\nTwo\n</think>\n\nText",
        ("One </thing>\n\nTwo", "Text", []),
    ),
    "reasoning, then a call": (
        TAGGED,
        f"<think>\n\n</think>\n\n{HERMES}",
        ("", "", [("f", '{"n": 1}')]),
    ),
    "reasoning that does not end": (TAGGED, "<think>Hm, <tool_call>", ("Hm, <tool_call>", "", [])),
    "reasoning only at the start": (TAGGED, "A <think> b", ("", "A <think> b", [])),
    "tags in a string": (
        TAGGED,
        '<tool_call>{"name": "f", "arguments": {"s": "</tool_call>}\\""}}</tool_call>',
        ("", "", [("f", '{"s": "</tool_call>}\\""}')]),
    ),
    "arguments first": (
        TAGGED,
        '<tool_call>{"arguments": {"n": [1, {}]}, "name": "f"}</tool_call>',
        ("", "", [("f", '{"n": [1, {}]}')]),
    ),
    "arguments as a string": (
        TAGGED,
        '<tool_call>{"name": "f", "arguments": "{\\"n\\": 1}"}</tool_call>',
        ("", "", [("f", '{"n": 1}')]),
    ),
    "no arguments": (TAGGED, '<tool_call>{"name": "g"}</tool_call>', ("", "", [("g", "{}")])),
    "the form of the API": (
        TAGGED,
        '<tool_call>{"type": "function", "function": {"name": "g", "arguments": {}}}</tool_call>',
        ("", "", [("g", "{}")]),
    ),
    "a brace too many": (
        TAGGED,
        '<tool_call>{"name": "g", "arguments": {}}}\n</tool_call> Text',
        ("", " Text", [("g", "{}")]),
    ),
    "a brace too few": (
        TAGGED,
        '<tool_call>{"name": "g", "arguments": {}\n</tool_call>',
        ("", "", [("g", "{}")]),
    ),
    "cut arguments": (
        TAGGED,
        '<tool_call>{"name": "f", "arguments": {"n": [1, ',
        ("", "", [("f", '{"n": [1, ')]),
    ),
    "a cut name": (TAGGED, '<tool_call>{"name": "f', ("", '<tool_call>{"name": "f', [])),
    "not a call": (
        TAGGED,
        f"<tool_call>none</tool_call> {HERMES}",
        ("", "<tool_call>none</tool_call> ", [("f", '{"n": 1}')]),
    ),
    "not JSON": (
        TAGGED,
        '<tool_call>{name: "f"}</tool_call>',
        ("", '<tool_call>{name: "f"}</tool_call>', []),
    ),
    "no name": (
        TAGGED,
        '<tool_call>{"arguments": {}}</tool_call>',
        ("", '<tool_call>{"arguments": {}}</tool_call>', []),
    ),
    "a tool that is not there": (
        TAGGED,
        '<tool_call>{"name": "h", "arguments": {}}</tool_call>',
        ("", "", [("h", "{}")]),
    ),
    "the form of Qwen3-Coder": (TAGGED, XML, ("", "", [("f", '{"n": 12, "s": "12"}')])),
    "a cut value": (
        TAGGED,
        "<tool_call>\n<function=f>\n<parameter=s>\nab",
        ("", "", [("f", '{"s": "ab')]),
    ),
    "no parameters": (
        TAGGED,
        "<tool_call>\n<function=g>\n</function>\n</tool_call>",
        ("", "", [("g", "{}")]),
    ),
    "Llama's JSON": (
        LLAMA,
        '{"name": "f", "parameters": {"n": "1"}}',
        ("", "", [("f", '{"n": "1"}')]),
    ),
    "Llama's tag": (
        LLAMA,
        '<|python_tag|>{"type": "function", "name": "f", "parameters": {}}',
        ("", "", [("f", "{}")]),
    ),
    "Llama's calls": (
        LLAMA,
        '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}',
        ("", "", [("f", "{}"), ("g", "{}")]),
    ),
    "JSON that is an answer": (LLAMA, '{"name": "Anna"}', ("", '{"name": "Anna"}', [])),
    "code": (LLAMA, "<|python_tag|>print(1)", ("", "<|python_tag|>print(1)", [])),
    "JSON in a text": (
        LLAMA,
        'So: {"name": "f", "parameters": {}}',
        ("", 'So: {"name": "f", "parameters": {}}', []),
    ),
    "Mistral's array": (
        MISTRAL,
        '[TOOL_CALLS] [{"name": "f", "arguments": {"n": 1}, "id": "abcdefghi"}, {"name": "g"}]',
        ("", "", [("f", '{"n": 1}'), ("g", "{}")]),
    ),
    "Mistral's names": (
        MISTRAL,
        '[THINK]Hm[/THINK]Text[TOOL_CALLS]f[ARGS]{"n": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}',
        ("Hm", "Text", [("f", '{"n": 1}'), ("g", "{}")]),
    ),
    "Mistral without a call": (MISTRAL, "[TOOL_CALLS]no call", ("", "[TOOL_CALLS]no call", [])),
    "all is text": (PLAIN, f"<think>{HERMES}", ("", f"<think>{HERMES}", [])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_answers(name: str) -> None:
    form, text, expected = CASES[name]
    for size in (1, 2, 5, len(text)):
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        assert parts(form, *chunks) == expected


def test_reasoning_that_the_prompt_has_opened() -> None:
    form = AnswerForm(think=THINK, thinking=True)
    assert parts(form, "Hm\n</think>\nText") == ("Hm", "Text", [])
    assert parts(form, "<think>\nHm</think>Text") == ("Hm", "Text", [])
    assert parts(form, "Hm") == ("Hm", "", [])


@pytest.mark.parametrize(
    ("form", "text"),
    [(TAGGED, HERMES + HERMES), (LLAMA, '{"name": "f", "parameters": {"n": 1}};' * 2),
     (MISTRAL, '[TOOL_CALLS][{"name": "f", "arguments": {"n": 1}}, {"name": "g"}]')],
)  # fmt: skip
def test_an_answer_of_one_call_ends_after_it(form: AnswerForm, text: str) -> None:
    single = AnswerForm(form.calls, form.tools, parallel=False)
    assert parts(single, text)[1:] == (
        "",
        [("f", text[text.index('{"n"') :].partition("}")[0] + "}")],
    )
    stream = AnswerParts(single)
    seen = 0
    while not stream.ended:
        stream.push(text[seen])
        seen += 1
    assert seen < len(text)


WORDS = st.sampled_from(
    [*"<>{}[]\"\\:,; \n", "a", "f", "think", "/think", "<think>", "</think>", "<tool_call>",
     "</tool_call>", HERMES, XML, '{"name": "f", ', '"arguments": {', "<function=f>",
     "<parameter=n>", "</parameter>", "[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]",
     "<|python_tag|>", '{"name": "g", "parameters": {}}']
)  # fmt: skip
TEXTS = st.lists(WORDS, max_size=12).map("".join)


@given(text=TEXTS, cuts=st.lists(st.integers(0, 200)), name=st.sampled_from([*FORMS]))
@example(text='<tool_call>{"name": "f", <tool_call>', cuts=[], name="tagged")
def test_parts_do_not_depend_on_the_chunks(text: str, cuts: list[int], name: str) -> None:
    ends = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    chunks = [text[start:end] for start, end in itertools.pairwise(ends)]
    assert parts(FORMS[name], *chunks) == parts(FORMS[name], text) == parts(FORMS[name], *text)


LONGEST = max(len(tag) for form in CallFormat for tag in form.openings)


@given(text=TEXTS.filter(lambda text: not any(mark in text for mark in ("_", "TOOL", "THINK"))))
@example(text="<think")
@example(text=" <tool <tool")
def test_text_without_tags_is_text_and_hardly_held_back(text: str) -> None:
    plain = text.replace("<think>", "").replace('{"', "")
    for form in FORMS.values():
        stream, sent = AnswerParts(form), ""
        for index, char in enumerate(plain, 1):
            sent += stream.push(char).text
            assert plain[:index].startswith(sent)
            if form is not LLAMA and plain[:index].strip():
                assert index - len(sent) <= LONGEST + len(plain) - len(plain.lstrip())
        assert sent + stream.finish().text == plain


@given(text=TEXTS)
def test_no_word_is_lost(text: str) -> None:
    """Names, arguments and text hold all letters but those of the tags and keys."""
    marked = f"{text} zebra"
    for form in FORMS.values():
        reasoning, rest, calls = parts(form, marked)
        assert "zebra" in reasoning + rest + "".join(name + given for name, given in calls)


def test_ids_of_calls() -> None:
    first = question()
    second = question("Another?")

    def ids(asked: Request) -> list[str]:
        return [call_ids(asked)(index) for index in range(2)]

    assert ids(first) == ids(first)
    assert len({*ids(first), *ids(second)}) == 4
    assert all(call_id.startswith("call_") and len(call_id) == 29 for call_id in ids(first))
    warm: dict[str, Any] = {"sampling": Sampling(temperature=1.0)}
    assert ids(question(**warm)) != ids(question(**warm))
    assert ids(question(seed=1)) != ids(question(seed=2)), picture(1).digest


@pytest.mark.parametrize("end", ["", "]" * 3000])
@pytest.mark.parametrize(
    "start",
    [
        '<tool_call>{"name": "f", "arguments": ',
        '<tool_call>{"name": ',
        "<tool_call><function=f><parameter=n>",
        '<tool_call>{"id": "',
    ],
)
def test_deeply_nested_answers_are_read(start: str, end: str) -> None:
    text = start + "[" * 3000 + end + "}</tool_call>"
    _, said, calls = parts(TAGGED, text)
    assert said == text or calls


@pytest.mark.parametrize("opening", ['<tool_call>{"arguments":[', '<tool_call>{"id": "'])
def test_many_openings_are_read_in_linear_time(opening: str) -> None:
    def lines(count: int) -> int:
        text, steps = opening * count, 0

        def trace(*_: Any) -> None:
            nonlocal steps
            steps += 1

        sys.setprofile(trace)
        try:
            assert parts(TAGGED, text) == ("", text, [])
        finally:
            sys.setprofile(None)
        return steps

    assert lines(800) < 3 * lines(400)


def test_a_call_after_a_long_beginning_of_another_is_read() -> None:
    text = '<tool_call>{"id": "' + "a" * 5000
    assert parts(TAGGED, text + HERMES) == ("", text, [("f", '{"n": 1}')])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<tool_call><function=get_wea", None),
        ("<tool_call><function=f>", "{"),
        ("<tool_call><function=f><parameter=s", "{"),
        ("<tool_call><function=f><parameter=s>ab", '{"s": "ab'),
        ("<tool_call><function=f><parameter=s>ab</parameter>", '{"s": "ab"'),
        ("<tool_call><function=f><parameter=s>ab</parameter>\n</func", '{"s": "ab"'),
        ("<tool_call><function=f><parameter=s>ab</parameter></function>", '{"s": "ab"}'),
        ("<tool_call><function=f><parameter=s>ab</parameter></tool_call>", '{"s": "ab"}'),
    ],
)
def test_a_call_in_xml_that_is_cut_is_incomplete(text: str, expected: str | None) -> None:
    _, said, calls = parts(TAGGED, text)
    if expected is None:
        assert (said, calls) == (text, [])
    else:
        assert calls == [("f", expected)]
