"""Answers that a remote server sends whole, because the client reads no stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from silkline.core import (
    Answer,
    FinishReason,
    Request,
    Sampling,
    Stage,
    TokenLogprob,
    Usage,
)
from silkline.engines.base import Engine
from silkline.engines.remote.engine import RemoteEngine
from silkline.errors import DeadlineExceeded, InvalidRequest, Overloaded, WorkerLost
from tests.engines.asking import answer, deltas, eventually, request, user
from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    Received,
    Script,
    asked,
    chunk,
    event,
    scripted,
    whole,
)

USAGE: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 3}


def completion(finish: str = "stop", usage: Any = USAGE, **message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: message.pop(name) for name in ("logprobs", "stop_reason") if name in message
    }
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish, **fields}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}


def ask(**sampling: Any) -> Request:
    return request(user("What is this?"), sampling=Sampling(**sampling), stream=False)


async def said(body: Any, asking: Request | None = None) -> Answer:
    async with asked(scripted(whole(200, body))) as (engine, _):
        return await answer(engine, asking or ask())


async def test_the_server_streams_only_if_the_client_does() -> None:
    async def script(received: Received):  # type: ignore[no-untyped-def]
        if received.body.get("stream"):
            yield STREAM_HEAD + event(chunk({"content": "a mug"}, "stop")) + STREAM_END
        else:
            yield whole(200, completion(content="a mug"))

    async with asked(script) as (engine, server):
        for stream in (True, False):
            asking = request(user("What?"), stream=stream)
            assert (await answer(engine, asking)).text == "a mug"
    streamed, not_streamed = (received.body for received in server.received)
    assert streamed["stream"] is True
    assert not_streamed.keys() == streamed.keys() - {"stream", "stream_options"}
    accepted = [received.headers["accept"] for received in server.received]
    assert accepted == ["text/event-stream", "application/json"]
    assert server.connections == 1


async def test_it_has_all_that_a_stream_has() -> None:
    logprob = {"token": " mug", "logprob": -0.5, "bytes": None, "top_logprobs": []}
    found = await said(
        completion(
            content="a mug",
            reasoning_content="It has a handle.",
            logprobs={"content": [logprob]},
            stop_reason="END",
        ),
        ask(stop=("END",), logprobs=0),
    )
    assert (found.text, found.reasoning) == ("a mug", "It has a handle.")
    assert found.logprobs == (TokenLogprob(" mug", b" mug", -0.5),)
    assert (found.finish_reason, found.stop) == (FinishReason.STOP, "END")
    assert found.usage == Usage(7, 3, reasoning_tokens=3)
    assert found.timeline.seconds.keys() == {Stage.GENERATE}


@pytest.mark.parametrize("ids", [("call_a", "call_b"), ("same", "same"), (None, None)])
async def test_each_of_its_tool_calls_is_a_call(ids: tuple[str | None, ...]) -> None:
    functions = [{"name": "paint", "arguments": f'{{"c": {number}}}'} for number in range(2)]
    calls = [
        {"type": "function", "function": function} | ({"id": call} if call else {})
        for call, function in zip(ids, functions, strict=True)
    ]
    found = await said(completion("tool_calls", content=None, tool_calls=calls))

    assert found.finish_reason is FinishReason.TOOL_CALLS
    assert [(call.name, call.arguments) for call in found.tool_calls] == [
        ("paint", '{"c": 0}'),
        ("paint", '{"c": 1}'),
    ]
    assert all(found.tool_calls[index].id == call for index, call in enumerate(ids) if call)


async def test_without_usage_it_is_estimated_from_the_characters() -> None:
    found = await said(completion(usage=None, content="x" * 40, reasoning="y" * 8))
    assert (found.usage.completion_tokens, found.usage.reasoning_tokens) == (12, 2)


async def test_a_server_that_streams_all_the_same_is_understood() -> None:
    script = scripted(
        STREAM_HEAD, event(chunk({"content": "a mug"}, "stop")), event("[DONE]"), STREAM_END
    )
    async with asked(script) as (engine, _):
        assert (await answer(engine, ask())).text == "a mug"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, {"error": {"message": "x", "code": 503}}, Overloaded),
        (200, completion("content_filter", content=""), InvalidRequest),
        (200, {"choices": []}, WorkerLost),
        (200, {"choices": [{"index": 0, "message": {"content": "a"}}]}, WorkerLost),
        (200, b"{", WorkerLost),
        (500, {}, WorkerLost),
        (429, {}, Overloaded),
    ],
)
async def test_what_is_no_answer_is_an_error(
    status: int, body: Any, error: type[Exception]
) -> None:
    async with asked(scripted(whole(status, body))) as (engine, _):
        with pytest.raises(error):
            await answer(engine, ask())


async def test_a_refused_field_is_sent_in_other_words() -> None:
    async def script(received: Received):  # type: ignore[no-untyped-def]
        if "max_tokens" in received.body:
            message = "Unsupported parameter: 'max_tokens' is not supported"
            yield whole(400, {"error": {"message": message, "param": "max_tokens"}})
        else:
            yield whole(200, completion(content="a mug"))

    async with asked(script) as (engine, server):
        assert (await answer(engine, ask(max_tokens=9))).text == "a mug"
    assert server.received[-1].body["max_completion_tokens"] == 9


async def test_an_accepted_whole_answer_proves_nothing_about_stream_options() -> None:
    async def script(received: Received):  # type: ignore[no-untyped-def]
        if "stream_options" in received.body:
            yield whole(400, {"error": {"message": "bad request"}})
        elif received.body.get("stream"):
            yield STREAM_HEAD + event(chunk({"content": "a mug"}, "stop")) + STREAM_END
        else:
            yield whole(200, completion(content="a mug"))

    async with asked(script) as (engine, _):
        for stream in (False, True):
            assert (await answer(engine, request(user("What?"), stream=stream))).text == "a mug"


SLOW: Script = scripted(0.6, whole(200, completion(content="a mug")))


async def test_it_may_take_longer_than_the_timeout_while_the_server_answers_probes() -> None:
    async with asked(SLOW, timeout="0.3") as (engine, _):
        assert isinstance(engine, RemoteEngine)
        answering = asyncio.create_task(answer(engine, ask()))
        for _ in range(12):
            await engine.probe()
            await asyncio.wait([answering], timeout=0.05)
        assert (await answering).text == "a mug"


async def test_it_is_not_stuck_before_the_timeout() -> None:
    async with asked(scripted(0.2, whole(200, completion(content="a mug")))) as (engine, _):
        answering = asyncio.create_task(answer(engine, ask()))
        await asyncio.wait([answering], timeout=0.1)
        health = engine.health()
        assert (health.queued, health.seconds_since_progress) == (1, 0.0)
        await answering


async def test_it_is_lost_when_the_server_shows_no_life_for_the_timeout() -> None:
    async with asked(scripted(30.0), timeout="0.2") as (engine, _):
        with pytest.raises(WorkerLost, match="nothing for too long"):
            await answer(engine, ask())


async def test_it_ends_at_its_deadline() -> None:
    async with asked(scripted(30.0)) as (engine, _):
        with pytest.raises(DeadlineExceeded):
            await answer(engine, request(user("What?"), timeout_seconds=0.2, stream=False))


async def test_the_connection_closes_when_the_reader_leaves() -> None:
    async with asked(scripted(30.0)) as (engine, server):
        reading = asyncio.create_task(_read(engine))
        await eventually(lambda: bool(server.received))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await eventually(lambda: server.left > 0)


async def _read(engine: Engine) -> None:
    await deltas(engine, ask())
