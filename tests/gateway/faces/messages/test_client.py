"""The official Anthropic client against the server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, beta_tool
from pydantic import BaseModel

from tests.gateway.asking import MODEL, asked, messages
from tests.ingress.documents import pdf
from tests.origin import Origin
from tests.pictures import data_url, encoded
from tests.serving import Served, served

HELLO: list[Any] = [{"role": "user", "content": "one two END three"}]


@pytest.fixture(scope="module")
def echo(origin: Origin) -> Iterator[Served]:
    """A server that repeats the last message."""
    options = "mode=echo,oom_on_text=<oom>,fault_after_tokens=2"
    with served(
        "--engine", "fake", "--engine-options", options, "--max-body-bytes", "100000",
        "--private-hosts", f"127.0.0.1:{origin.port}",
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def client(echo: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=echo.url, api_key="none", max_retries=0) as client:
        yield client


def say(client: Anthropic, messages: list[Any] = HELLO, **fields: Any) -> Any:
    return client.messages.create(
        **{"model": MODEL, "max_tokens": 64, "messages": messages, **fields}
    )


def final(client: Anthropic, **fields: Any) -> Any:
    with client.messages.stream(
        **{"model": MODEL, "max_tokens": 64, "messages": HELLO, **fields}
    ) as stream:
        return stream.get_final_message()


def said(message: Any) -> list[str]:
    return [block.text for block in message.content if block.type == "text"]


def image(**source: str) -> dict[str, Any]:
    return {"type": "image", "source": source}


def test_a_whole_message(client: Anthropic) -> None:
    message = say(client)
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "one two END three"}
    ]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert message._request_id
    assert message.id == f"msg_{message._request_id}"


def test_a_stream_is_the_whole_message(client: Anthropic) -> None:
    whole = say(client)
    with client.messages.stream(model=MODEL, max_tokens=64, messages=HELLO) as stream:
        events = [event.type for event in stream]
        message = stream.get_final_message()
    assert events[:2] == ["message_start", "content_block_start"]
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert said(message) == said(whole) == ["one two END three"]
    assert message.usage.to_dict() == whole.usage.to_dict()
    assert message.stop_reason == whole.stop_reason


def test_the_last_event_of_a_stream_is_message_stop(echo: Served) -> None:
    body = {"max_tokens": 8, "messages": HELLO, "stream": True}
    reply = httpx2.post(f"{echo.url}/v1/messages", json=body, timeout=30)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert "[DONE]" not in reply.text


def test_an_answer_that_is_too_long_is_cut(client: Anthropic) -> None:
    assert say(client, max_tokens=2).stop_reason == "max_tokens"
    assert final(client, max_tokens=2).stop_reason == "max_tokens"


def test_a_stop_sequence_is_named(client: Anthropic) -> None:
    for message in (
        say(client, stop_sequences=["never", "END"]),
        final(client, stop_sequences=["never", "END"]),
        say(client, stop_sequences=["never", "END"]),  # from the cache
    ):
        assert message.content[0].text == "one two "
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


def test_images_by_base64_and_url(client: Anthropic, origin: Origin) -> None:
    data = base64.b64encode(encoded(64, 48)).decode()
    url = origin.put("/messages.jpg", encoded(32, 16))
    content = [
        image(type="base64", media_type="image/jpeg", data=data),
        image(type="url", url=url),
        {"type": "text", "text": "What are these?"},
    ]
    message = say(client, [{"role": "user", "content": content}])
    assert message.content[0].text == "[64x48] [32x16] What are these?"
    assert message.usage.input_tokens > 32


def test_a_pdf_is_seen_page_by_page(client: Anthropic) -> None:
    data = base64.b64encode(pdf("red", "blue")).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    content = [
        {"type": "document", "source": source, "title": "Colours"},
        {"type": "text", "text": "What is this?"},
    ]
    message = say(client, [{"role": "user", "content": content}])
    assert message.content[0].text == "Colours\n\n [600x400] [600x400] What is this?"


def test_the_models_are_listed(client: Anthropic) -> None:
    (model,) = client.models.list()
    assert (model.id, model.type, model.display_name) == (MODEL, "model", MODEL)
    assert model.max_input_tokens == 8192
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_system_prompt_is_part_of_the_prompt(client: Anthropic) -> None:
    plain = prompt_tokens(say(client))
    blocks: list[Any] = [{"type": "text", "text": "Be very brief.", "cache_control": {}}]
    for system in ("Be very brief.", blocks):
        assert prompt_tokens(say(client, system=system)) > plain


def prompt_tokens(message: Any) -> int:
    """All tokens of the prompt; those of an answer from the cache count as cached."""
    return int(message.usage.input_tokens + message.usage.cache_read_input_tokens)


def test_sampling_fields_of_older_clients_are_taken(client: Anthropic) -> None:
    body = {"temperature": 0.5, "top_p": 0.5, "model": None}
    assert say(client, extra_body=body).stop_reason == "end_turn"


def test_the_same_question_of_a_chat_shares_one_answer(echo: Served) -> None:
    picture = encoded(width=77)
    block = image(type="base64", media_type="image/jpeg", data=base64.b64encode(picture).decode())
    content = [block, {"type": "text", "text": "What is this?"}]
    body = {"max_tokens": 50, "messages": [{"role": "user", "content": content}]}
    chat = asked(data_url(picture), max_tokens=50)
    with httpx2.Client(base_url=echo.url, timeout=30) as http:
        first = http.post("/v1/chat/completions", json=chat)
        second = http.post("/v1/messages", json=body)
    states = [reply.headers["x-silkline-cache"] for reply in (first, second)]
    assert states == ["miss", "hit"]
    text = first.json()["choices"][0]["message"]["content"]
    assert second.json()["content"][0]["text"] == text


def test_an_idempotency_key_replays_the_message(echo: Served) -> None:
    body = {"max_tokens": 50, "messages": HELLO, "temperature": 1}
    headers = {"idempotency-key": "messages-1"}
    with httpx2.Client(base_url=echo.url, timeout=30) as http:
        first, second = (http.post("/v1/messages", json=body, headers=headers) for _ in range(2))
        other = http.post("/v1/messages", json=body | {"max_tokens": 51}, headers=headers)
    assert second.headers["idempotent-replayed"] == "true"
    assert first.json() == second.json()
    assert other.status_code == 422
    assert other.json()["error"]["details"]["error_code"] == "idempotency_key_reused"


WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.mark.parametrize("ask", [say, final])
def test_a_tool_is_called_and_its_result_is_read(client: Anthropic, ask: Any) -> None:
    conversation: list[Any] = [{"role": "user", "content": "Ask weather about it."}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    fields = {"tools": [WEATHER], "thinking": thinking, "max_tokens": 200}
    called = ask(client, messages=conversation, **fields)
    assert called.stop_reason == "tool_use"
    thought, call = called.content
    assert (thought.type, call.type, call.name) == ("thinking", "tool_use", "weather")
    assert thought.thinking
    assert thought.signature
    assert set(call.input) == {"city"}
    assert called.usage.output_tokens_details.thinking_tokens > 0
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "It rains."}
    conversation += [called.to_param(), {"role": "user", "content": [result]}]
    answered = ask(client, messages=conversation, **fields)
    assert answered.stop_reason == "end_turn"
    assert [block.text for block in answered.content if block.type == "text"] == ["It rains."]


def test_the_tool_runner_of_the_client_ends(client: Anthropic) -> None:
    asked: list[str] = []

    @beta_tool
    def weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        return "It rains."

    runner = client.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=200,
        tools=[weather],
        messages=[{"role": "user", "content": "Ask weather about it."}],
    )
    last = runner.until_done()
    (city,) = asked
    assert city
    assert last.content[0].to_dict()["text"] == "It rains."


@pytest.mark.parametrize(
    ("choice", "calls"),
    [({"type": "any"}, 1), ({"type": "tool", "name": "weather"}, 1), ({"type": "none"}, 0)],
)
def test_the_choice_of_tools_is_obeyed(
    client: Anthropic, choice: dict[str, Any], calls: int
) -> None:
    message = say(client, tools=[WEATHER], tool_choice=choice)
    assert [block.type for block in message.content].count("tool_use") == calls


class Weather(BaseModel):
    city: str
    degrees: int


def test_the_client_parses_a_structured_answer(client: Anthropic) -> None:
    message = client.messages.parse(
        model=MODEL, max_tokens=200, messages=HELLO, output_format=Weather
    )
    assert isinstance(message.parsed_output, Weather)
    schema = {"type": "json_schema", "schema": Weather.model_json_schema()}
    beta = say(client, extra_body={"output_format": schema})
    assert set(Weather.model_validate_json(said(beta)[0]).model_dump()) == {"city", "degrees"}


def test_a_prefilled_answer_goes_on(client: Anthropic) -> None:
    prefill = [*HELLO, {"role": "assistant", "content": "one two"}]
    assert say(client, prefill).content[0].text == " END three"


ERRORS: dict[str, tuple[dict[str, Any], type[Any], str, str]] = {
    "wrong": ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error", "max_tokens"),
    "missing": (
        {"model": "no-such-model"},
        anthropic.NotFoundError,
        "not_found_error",
        "not served here",
    ),
    "long": (
        {"system": "x" * 200_000},
        anthropic.RequestTooLargeError,
        "request_too_large",
        "100000 bytes",
    ),
    "full": (
        {"messages": [{"role": "user", "content": "<oom>"}]},
        anthropic.ServiceUnavailableError,
        "overloaded_error",
        "memory",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_have_the_types_that_the_client_knows(client: Anthropic, name: str) -> None:
    fields, kind, type_name, words = ERRORS[name]
    with pytest.raises(kind) as caught:
        say(client, **fields)
    error = caught.value
    assert error.type == type_name
    assert words in error.api_message
    assert error.error_code
    assert error.request_id == error.body["request_id"]
    assert error.body["type"] == "error"


def test_an_error_in_a_stream_is_an_event(client: Anthropic) -> None:
    conversation = [{"role": "user", "content": "one two three four <oom>"}]
    with pytest.raises(anthropic.APIStatusError) as caught:
        final(client, messages=conversation)
    assert caught.value.type == "overloaded_error"


@pytest.mark.parametrize(
    ("method", "path", "status", "type_name"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("POST", "/v1/messages/", 400, "invalid_request_error"),
    ],
)
def test_routes_that_are_not_there_have_its_errors(
    echo: Served, method: str, path: str, status: int, type_name: str
) -> None:
    reply = httpx2.request(method, echo.url + path, timeout=30)
    assert reply.status_code == status
    body = reply.json()
    assert (body["type"], body["error"]["type"]) == ("error", type_name)
    assert body["request_id"] == reply.headers["request-id"] == reply.headers["x-request-id"]


def test_other_paths_keep_their_errors(echo: Served) -> None:
    for path in ("/v1/messages-other", "/v1/chat/completions"):
        body = httpx2.post(echo.url + path, timeout=30).json()
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}


def test_the_question_of_the_client_is_not_a_chat(echo: Served) -> None:
    reply = httpx2.post(
        f"{echo.url}/v1/messages", json={"messages": messages("x"), "max_tokens": 1}, timeout=30
    )
    assert reply.status_code == 400
    assert "text, image, document" in reply.json()["error"]["message"]
