from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.gateway.asking import MODEL, asked, messages
from tests.origin import Origin
from tests.pictures import data_url, encoded


def complete(openai: OpenAI, conversation: list[dict[str, Any]], **options: Any) -> Any:
    return openai.chat.completions.create(
        model=MODEL,
        messages=conversation,  # type: ignore[arg-type]
        **options,
    )


def streamed(openai: OpenAI, conversation: list[dict[str, Any]], **options: Any) -> list[Any]:
    chunks = complete(openai, conversation, stream=True, **options)
    return list(chunks)


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_the_official_client_gets_a_whole_answer(openai: OpenAI) -> None:
    answer = complete(openai, messages(data_url(encoded())))
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.image_tokens == 16


def test_a_stream_is_the_whole_answer_in_pieces(openai: OpenAI) -> None:
    conversation = messages(data_url(encoded()))
    whole = complete(openai, conversation)
    chunks = streamed(openai, conversation, stream_options={"include_usage": True})
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert set(chunks[-1].silkline["timeline"]) >= {"decode", "queue", "prefill", "generate"}
    assert len({chunk.id for chunk in chunks}) == 1


def check_chunks(chunks: list[Any], finish_reason: str) -> None:
    """Text in chunks without a finish reason, then one with it and an empty delta."""
    *texts, last = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert texts
    assert texts[0].delta.role == "assistant"
    assert all(one.finish_reason is None for one in texts)
    assert last.finish_reason == finish_reason
    assert last.delta.to_dict() == {}


@pytest.mark.parametrize(
    ("options", "finish_reason"),
    [({}, "stop"), ({"max_tokens": 1}, "length"), ({"max_tokens": 3}, "length")],
)
def test_the_finish_chunk_of_a_stream_has_no_text(
    openai: OpenAI, options: dict[str, Any], finish_reason: str
) -> None:
    conversation = messages(data_url(encoded()))
    whole = complete(openai, conversation, **options)
    chunks = streamed(openai, conversation, **options)
    check_chunks(chunks, finish_reason)
    assert text_of(chunks) == whole.choices[0].message.content


def test_a_stream_of_no_text_has_its_role_and_its_finish(openai: OpenAI) -> None:
    conversation = messages(data_url(encoded()))
    text = complete(openai, conversation).choices[0].message.content
    chunks = streamed(openai, conversation, stop=text.split()[0])
    check_chunks(chunks, "stop")
    assert text_of(chunks) == ""


def test_all_chunks_before_the_usage_have_none(openai: OpenAI) -> None:
    chunks = streamed(openai, messages(), stream_options={"include_usage": True})
    assert all("usage" in chunk.to_dict() and chunk.usage is None for chunk in chunks[:-1])
    assert all("usage" not in chunk.to_dict() for chunk in streamed(openai, messages()))


def test_usage_is_left_out_of_a_stream_unless_asked_for(openai: OpenAI) -> None:
    assert all(chunk.choices for chunk in streamed(openai, messages("", text="hello")))


def test_a_picture_is_fetched_from_an_allowed_private_host(openai: OpenAI, origin: Origin) -> None:
    data = encoded(colour="blue")
    by_url = complete(openai, messages(origin.put("/blue.jpg", data)))
    by_data = complete(openai, messages(data_url(data)))
    assert by_url.choices[0].message.content == by_data.choices[0].message.content


def test_different_pictures_get_different_answers(openai: OpenAI) -> None:
    answers = {
        complete(openai, messages(data_url(encoded(colour=colour)))).choices[0].message.content
        for colour in ("red", "green", "blue")
    }
    assert len(answers) == 3


def test_sixteen_at_once_get_the_same_answers_as_one_at_a_time(openai: OpenAI) -> None:
    conversations = [messages(data_url(encoded(width=40 + place))) for place in range(16)]
    alone = [complete(openai, each).choices[0].message.content for each in conversations]
    with ThreadPoolExecutor(16) as pool:
        together = list(
            pool.map(lambda each: complete(openai, each).choices[0].message.content, conversations)
        )
    assert together == alone
    assert len(set(alone)) == 16


def test_max_tokens_and_stop_strings_end_an_answer(openai: OpenAI) -> None:
    conversation = messages(data_url(encoded()))
    text = complete(openai, conversation).choices[0].message.content
    short = complete(openai, conversation, max_tokens=2)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 2
    word = text.split()[3]
    stopped = complete(openai, conversation, stop=word)
    assert stopped.choices[0].message.content == text[: text.index(word)]
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].stop_reason == word
    chunks = streamed(openai, conversation, stop=word)
    assert chunks[-1].choices[0].stop_reason == word
    assert not hasattr(complete(openai, conversation).choices[0], "stop_reason")


def test_fields_without_effect_are_taken(openai: OpenAI) -> None:
    options = {
        "user": "u",
        "metadata": {"a": "b"},
        "n": 1,
        "presence_penalty": 0,
        "logprobs": False,
    }
    assert complete(openai, messages("", text="hello"), **options).choices


def test_an_answer_can_be_sent_back_as_it_came(openai: OpenAI) -> None:
    conversation = messages(data_url(encoded()))
    first = complete(openai, conversation).choices[0].message
    second = complete(openai, [*conversation, first, *messages("", text="And its colour?")])
    assert second.choices[0].message.content


def test_null_is_the_same_as_absent(http: httpx2.Client) -> None:
    fields = [
        *("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "n"),
        *("stream", "stream_options", "presence_penalty", "frequency_penalty", "logit_bias"),
        *("logprobs", "top_logprobs", "response_format", "modalities", "tools", "tool_choice"),
        *("reasoning_effort", "user", "metadata", "store", "service_tier"),
    ]
    plain = http.post("/v1/chat/completions", json=asked())
    nulls = http.post("/v1/chat/completions", json=asked(**dict.fromkeys(fields)))
    assert nulls.status_code == 200, nulls.text
    assert nulls.json()["choices"] == plain.json()["choices"]


def test_values_without_effect_are_taken(http: httpx2.Client) -> None:
    neutral = {"tools": [], "tool_choice": "none", "logit_bias": {}, "modalities": ["text"]}
    assert http.post("/v1/chat/completions", json=asked(**neutral)).status_code == 200


def test_headers_tell_what_answered_and_where_the_time_went(http: httpx2.Client) -> None:
    reply = http.post("/v1/chat/completions", json=asked(data_url(encoded())))
    assert reply.status_code == 200
    assert reply.headers["x-silkline-cache"] == "miss"
    assert reply.headers["x-silkline-model"] == f"{MODEL}@0"
    stages = [entry.partition(";")[0] for entry in reply.headers["server-timing"].split(", ")]
    assert {"decode", "resize", "queue", "prefill", "generate"} <= set(stages)


@pytest.mark.parametrize("given", ["abc-123", "a.b:c_d", "x" * 128])
def test_a_well_formed_request_id_is_kept(http: httpx2.Client, given: str) -> None:
    reply = http.get("/v1/models", headers={"x-request-id": given})
    assert reply.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "é", "x" * 129, "../../etc"])
def test_another_request_id_is_replaced(http: httpx2.Client, given: str) -> None:
    reply = http.get("/v1/models", headers=[(b"x-request-id", given.encode())])
    assert reply.headers["x-request-id"] != given
    assert len(reply.headers["x-request-id"]) == 32


def test_models_lists_what_is_served(openai: OpenAI) -> None:
    models = list(openai.models.list())
    assert [model.id for model in models] == [MODEL]
    assert models[0].owned_by == "silkline"
