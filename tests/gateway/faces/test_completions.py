"""Text completions, through the official client."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from tests.gateway.asking import MODEL


def complete(openai: OpenAI, prompt: Any = "a red", **fields: Any) -> Any:
    return openai.completions.create(**{"model": MODEL, "prompt": prompt, **fields})


def test_a_whole_completion(openai: OpenAI) -> None:
    found = complete(openai, max_tokens=64)
    assert found.object == "text_completion"
    assert found.id.startswith("cmpl-")
    assert found.model == MODEL
    assert found.choices[0].text
    assert (found.choices[0].index, found.choices[0].logprobs) == (0, None)
    assert found.choices[0].finish_reason == "stop"
    assert found.usage.prompt_tokens == 2


def test_without_max_tokens_there_are_sixteen(openai: OpenAI) -> None:
    assert complete(openai, extra_body={"ignore_eos": True}).usage.completion_tokens == 16


def test_a_stream_is_the_whole_completion(openai: OpenAI) -> None:
    whole = complete(openai)
    *chunks, last = complete(openai, stream=True, stream_options={"include_usage": True})
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])
    assert (last.choices, last.usage) == ([], whole.usage)


def test_log_probabilities_in_the_form_of_this_api(openai: OpenAI) -> None:
    choice = complete(openai, logprobs=2, max_tokens=4).choices[0]
    found = choice.logprobs
    assert "".join(found.tokens) == choice.text
    assert found.text_offset == [0, *accumulate(map(len, found.tokens[:-1]))]
    for token, logprob, top in zip(
        found.tokens, found.token_logprobs, found.top_logprobs, strict=True
    ):
        assert len(top) == 2
        assert top[token] == logprob == max(top.values())
        assert sum(map(math.exp, top.values())) <= 1
    chunks = list(complete(openai, logprobs=2, max_tokens=4, stream=True))
    parts = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [token for part in parts for token in part.tokens] == found.tokens
    assert [offset for part in parts for offset in part.text_offset] == found.text_offset


def test_the_stop_string_is_named(openai: OpenAI) -> None:
    word = complete(openai).choices[0].text.split()[1]
    assert complete(openai, stop=word).choices[0].stop_reason == word
    *_, last = complete(openai, stop=word, stream=True)
    assert (last.choices[0].finish_reason, last.choices[0].stop_reason) == ("stop", word)


def test_several_choices(openai: OpenAI) -> None:
    found = complete(openai, n=3, temperature=1.5, seed=1, max_tokens=8)
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    assert len({choice.text for choice in found.choices}) > 1


def test_the_prompt_may_be_a_list_of_one_text(openai: OpenAI) -> None:
    assert complete(openai, ["a red"]).choices[0].text == complete(openai).choices[0].text


def test_fields_at_their_defaults_are_taken(openai: OpenAI) -> None:
    assert complete(openai, echo=False, best_of=1, suffix="", user="me").choices


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"extra_body": {"messages": []}}, "messages"),
        ({"extra_body": {"prompt": None}}, None),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    openai: OpenAI, fields: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(BadRequestError) as refused:
        complete(openai, **fields)
    assert refused.value.param == param
    assert str(param or "prompt") in refused.value.message
