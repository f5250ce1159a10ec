"""What servers do besides answering: every refusal, break and oddity has one outcome."""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.core import Answer, Delta, FinishReason, Request, Sampling
from silkline.engines.base import EngineOptions
from silkline.engines.remote import create_engine
from silkline.engines.remote.answer import AnswerReader
from silkline.engines.remote.failures import refusal
from silkline.engines.remote.sse import Event
from silkline.errors import (
    ConfigError,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    Quarantined,
    RequestTooLarge,
    ShuttingDown,
    SilklineError,
    WorkerLost,
)
from tests.engines.asking import answer, eventually, question
from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    Cut,
    Received,
    Script,
    asked,
    chunk,
    event,
    openai_server,
    piece,
    scripted,
    whole,
)

HELLO = event(chunk({"role": "assistant", "content": ""})) + event(chunk({"content": "Hello"}))
STOP = event(chunk({}, "stop"))
USAGE = event(chunk(None, usage={"prompt_tokens": 9, "completion_tokens": 2}))
DONE = event("[DONE]") + STREAM_END
SECRET = "Traceback /srv/secret 10.0.0.1"


async def outcome(
    script: Script, asking: Request | None = None, asks: int = 1, **extra: str
) -> object:
    """The answer or the error after so many requests, after which nothing may be left."""
    async with asked(script, **extra) as (engine, server):
        came: Answer | SilklineError
        try:
            came = await answer(engine, asking or question())
        except SilklineError as error:
            came = error
        health = engine.health()
        assert (health.running, health.queued, health.seconds_since_progress) == (0, 0, 0.0)
        assert len(server.received) == asks
        assert SECRET not in str(came)
        return came


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_with_everything(stream: bool) -> None:
    details = {"cached_tokens": 3, "image_tokens": 5}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": details}
    tail = event(chunk({"content": "!"}, "length")) + event(chunk(None, usage=usage))
    script = scripted(STREAM_HEAD, piece(b": beat\n\n"), HELLO, tail, DONE)
    said = await outcome(script, question(stream=stream))
    assert said.text == "Hello!"  # type: ignore[attr-defined]
    assert said.finish_reason is FinishReason.LENGTH  # type: ignore[attr-defined]
    cost = said.usage  # type: ignore[attr-defined]
    assert (cost.prompt_tokens, cost.completion_tokens) == (9, 2)
    assert (cost.image_tokens, cost.cached_tokens) == (5, 3)


@pytest.mark.parametrize("end", [
    (STOP, USAGE, DONE),
    (event(chunk({"content": ""}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 2})),
     DONE),
    (STOP, USAGE, STREAM_END),  # no [DONE]
    (STOP, USAGE, event("[DONE]"), 0.3, STREAM_END),  # the end of the body is late
    (event(chunk({}, "eos_token", usage=None)), USAGE, DONE),
])  # fmt: skip
async def test_ways_to_end(end: tuple[bytes | float, ...]) -> None:
    said = await outcome(scripted(STREAM_HEAD, HELLO, *end))
    assert said.text == "Hello"  # type: ignore[attr-defined]
    assert said.usage.completion_tokens == 2  # type: ignore[attr-defined]


async def test_without_usage_it_is_estimated_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = scripted(STREAM_HEAD, HELLO, event(chunk({"content": " you"})), STOP, DONE)
    async with asked(script, image_tokens="100") as (engine, _):
        with caplog.at_level(logging.WARNING, "silkline.remote"):
            costs = [(await answer(engine, question("x" * 41))).usage for _ in range(2)]
    assert costs[0] == costs[1]
    cost = costs[0]
    assert (cost.prompt_tokens, cost.image_tokens, cost.completion_tokens) == (111, 100, 2)
    assert [record.message for record in caplog.records].count(
        "a remote server reports no usage: it is estimated"
    ) == 1


async def test_no_more_of_the_prompt_is_pictures_or_kept_than_there_is() -> None:
    details = {"cached_tokens": 30, "image_tokens": 50}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": details}
    said = await outcome(scripted(STREAM_HEAD, HELLO, STOP, event(chunk(None, usage=usage)), DONE))
    cost = said.usage  # type: ignore[attr-defined]
    assert (cost.prompt_tokens, cost.image_tokens, cost.cached_tokens) == (9, 9, 9)


@pytest.mark.parametrize("more", [
    (event("[DONE]"), HELLO, STREAM_END),
    (event("[DONE]"), *[piece(b": beat\n" * 8192)] * 2000),  # without an end
    (event("[DONE]"), b"no piece"),
])  # fmt: skip
async def test_what_comes_behind_the_end_is_nothing(more: tuple[bytes, ...]) -> None:
    said = await outcome(scripted(STREAM_HEAD, HELLO, STOP, USAGE, event("[DONE]"), *more))
    assert said.text == "Hello"  # type: ignore[attr-defined]


def error_body(code: Any, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": SECRET, "type": "x", "code": code, **fields}}


@pytest.mark.parametrize(("status", "body", "kind"), [
    (400, error_body(400), InvalidRequest),
    (422, {"detail": [SECRET]}, InvalidRequest),
    (413, b"<html>" + SECRET.encode(), RequestTooLarge),
    (413, error_body("image_too_large"), RequestTooLarge),
    (422, error_body("quarantined"), Quarantined),
    (429, error_body("rate_limit_exceeded"), Overloaded),
    (503, error_body(503), Overloaded),
    (503, error_body("overloaded"), Overloaded),
    (503, error_body("worker_lost"), WorkerLost),
    (503, error_body("engine_failed"), WorkerLost),
    (503, error_body("shutting_down"), WorkerLost),
    (504, error_body("deadline_exceeded"), DeadlineExceeded),
    (504, b"", WorkerLost),
    (500, error_body("internal_error"), WorkerLost),
    (502, b"x" * 200_000, WorkerLost),
    (401, error_body("invalid_api_key"), WorkerLost),
    (403, b"", WorkerLost),
    (404, error_body("model_not_found"), WorkerLost),
    (307, b"", WorkerLost),
    (204, b"", WorkerLost),
    (200, error_body(400), InvalidRequest),
    (200, {"object": "error", "message": SECRET, "code": 400}, InvalidRequest),
    (200, error_body(None), WorkerLost),
    (200, {"choices": [{"message": {"content": "not a stream"}}]}, WorkerLost),
    (200, b"[" * 5000, WorkerLost),
])  # fmt: skip
async def test_refusals(status: int, body: Any, kind: type[SilklineError]) -> None:
    # A server that never answered may mean a field of ours: it is asked once more without.
    asks = 2 if kind is InvalidRequest else 1
    assert type(await outcome(scripted(whole(status, body)), asks=asks)) is kind


@pytest.mark.parametrize(("header", "seconds"), [
    ("7", 7), ("0", 1), ("1.5", 2), ("99999999", 300), ("1e999", 300), ("soon", 1), ("-5", 1),
    ("Wed, 21 Oct 2015 07:28:00 GMT", 1), ("Wed, 21 Oct 2099 07:28:00 GMT", 300), ("", 1),
])  # fmt: skip
def test_retry_after(header: str, seconds: int) -> None:
    error = refusal(503, {"retry-after": header}, b"")
    assert isinstance(error, Overloaded)
    assert error.retry_after == seconds


@given(st.integers(0, 999), st.binary() | st.text().map(str.encode), st.text())
def test_no_refusal_is_too_odd(status: int, body: bytes, header: str) -> None:
    assert isinstance(refusal(status, {"retry-after": header}, body), SilklineError)


async def test_the_parameter_at_fault_is_told_when_it_is_one_of_ours() -> None:
    for param, told in (("max_tokens", "max_tokens"), (SECRET, None), ({"a": 1}, None)):
        error = await outcome(scripted(whole(400, error_body(400, param=param))), asks=2)
        assert error.param == told  # type: ignore[attr-defined]
    error = await outcome(scripted(whole(400, error_body("context_length_exceeded"))))
    assert error.param == "messages"  # type: ignore[attr-defined]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["choices", "delta", "content", "finish_reason", "usage", "error", "code",
                         "tool_calls", "function", "name", "arguments", "index", "id", "reasoning",
                         "logprobs", "token", "logprob", "bytes", "top_logprobs"]),
        inner,
    ),
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(st.binary() | JSON.map(lambda value: json.dumps(value).encode())))
def test_any_events_are_deltas_or_one_of_our_errors(events: list[bytes]) -> None:
    reader = AnswerReader(Sampling(logprobs=5))
    with contextlib.suppress(SilklineError):
        for data in events:
            assert isinstance(reader.read(Event(b"", data)), Delta | None)


@pytest.mark.parametrize(("pieces", "kind"), [
    ((Cut,), WorkerLost),
    ((STREAM_HEAD, Cut), WorkerLost),
    ((STREAM_HEAD, HELLO, Cut), WorkerLost),
    ((STREAM_HEAD, HELLO, STREAM_END), WorkerLost),
    ((STREAM_HEAD, HELLO, DONE), WorkerLost),  # no finish reason: not whole
    ((STREAM_HEAD, HELLO, event(error_body(500)), DONE), WorkerLost),
    ((STREAM_HEAD, HELLO, event(error_body(400)), DONE), InvalidRequest),
    ((STREAM_HEAD, HELLO, event(error_body("overloaded")), DONE), Overloaded),
    ((STREAM_HEAD, HELLO, piece(b"event: error\ndata: {}\n\n"), DONE), WorkerLost),
    ((STREAM_HEAD, HELLO, piece(b"error: {}\n\n"), STREAM_END), WorkerLost),
    ((STREAM_HEAD, event("not json"), DONE), WorkerLost),
    ((STREAM_HEAD, event("[" * 5000), DONE), WorkerLost),
    ((STREAM_HEAD, event({"choices": 5}), DONE), WorkerLost),
    ((STREAM_HEAD, piece(b"data: \xff\n\n"), DONE), WorkerLost),
    ((STREAM_HEAD, HELLO, event(chunk({}, "abort")), DONE), WorkerLost),
    ((STREAM_HEAD, HELLO, event(chunk({}, "content_filter")), DONE), InvalidRequest),
    ((STREAM_HEAD, event(chunk({}, "stop", usage={"prompt_tokens": 10**30})), DONE), WorkerLost),
    ((STREAM_HEAD, *[piece(b"x" * 65536)] * 20, DONE), WorkerLost),
    ((b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx",), WorkerLost),
    ((b"nonsense\r\n\r\n",), WorkerLost),
    ((STREAM_HEAD, HELLO, b"zz\r\n", 100.0), WorkerLost),  # a broken chunk
    ((b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",), WorkerLost),
])  # fmt: skip
async def test_breaks(pieces: tuple[Any, ...], kind: type[SilklineError]) -> None:
    async with asyncio.timeout(30):  # far less than the engine's own patience
        assert type(await outcome(scripted(*pieces))) is kind


@pytest.mark.parametrize("pieces", [
    (5.0,), (STREAM_HEAD, 5.0), (STREAM_HEAD, HELLO, 5.0),
])  # fmt: skip
async def test_silence_is_a_loss_and_a_deadline_is_a_deadline(pieces: tuple[Any, ...]) -> None:
    began = time.monotonic()
    assert type(await outcome(scripted(*pieces), timeout="0.2")) is WorkerLost
    late = await outcome(scripted(*pieces), question(timeout_seconds=0.2))
    assert type(late) is DeadlineExceeded
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("pieces", [(30.0,), (STREAM_HEAD, HELLO, 30.0)])
async def test_closing_reaches_the_server_at_once(pieces: tuple[Any, ...]) -> None:
    async with asked(scripted(*pieces)) as (engine, server):
        reader = asyncio.create_task(answer(engine, question()))
        await eventually(lambda: len(server.received) == 1)
        await asyncio.sleep(0.05)
        assert engine.health().running + engine.health().queued == 1
        reader.cancel()
        await eventually(lambda: server.left == 1)
        assert server.open == 0


async def test_a_crowd_that_leaves_at_any_moment_leaves_nothing_behind() -> None:
    dice = random.Random(3)
    script = scripted(0.02, STREAM_HEAD, 0.02, HELLO, 0.02, HELLO, 0.02, STOP, USAGE, DONE)
    sent_whole = 0

    async def counted(received: Received) -> AsyncGenerator[bytes, None]:
        nonlocal sent_whole
        async for sent in script(received):
            yield sent
        sent_whole += 1

    async with asked(counted) as (engine, server):
        before = asyncio.all_tasks()

        async def leave() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(dice.random() / 3):
                    await answer(engine, question(seed=None))

        await asyncio.gather(*(leave() for _ in range(200)))
        await eventually(lambda: server.open <= sent_whole < 200)
        await eventually(lambda: len(asyncio.all_tasks() - before) == server.open)
        assert engine.health().running + engine.health().queued == 0
        await engine.aclose()
        await eventually(lambda: server.open == 0)


async def test_a_connection_is_used_again() -> None:
    script = scripted(STREAM_HEAD, HELLO, STOP, USAGE, event("[DONE]"), 0.02, STREAM_END)
    async with asked(script) as (engine, server):
        for _ in range(5):
            await answer(engine, question())
        assert server.connections == 1


async def test_health_tells_the_age_of_the_last_progress_whatever_the_heartbeat() -> None:
    beats = [each for _ in range(40) for each in (piece(b": beat\n\n"), 0.05)]
    async with asked(scripted(STREAM_HEAD, HELLO, *beats)) as (engine, _):
        reader = asyncio.create_task(answer(engine, question()))
        await eventually(lambda: engine.health().running == 1)
        await eventually(lambda: engine.health().seconds_since_progress > 0.5)
        await engine.start()  # a probe is no progress
        assert engine.health().seconds_since_progress > 0.5
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader


async def test_closing_the_engine_ends_what_runs() -> None:
    async with asked(scripted(STREAM_HEAD, HELLO, 30.0)) as (engine, _):
        reader = asyncio.create_task(answer(engine, question()))
        await eventually(lambda: engine.health().running == 1)
        await engine.aclose()
        with pytest.raises(WorkerLost):
            await reader
        with pytest.raises(ShuttingDown):
            await answer(engine, question())


async def test_the_key_goes_along_and_redirects_are_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAR_KEY", "sk-far")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with openai_server(scripted()) as other:
        move = scripted(whole(307, b"", f"location: {other.url}/v1/chat/completions"))
        async with asked(move, key_env="FAR_KEY") as (engine, server):
            with pytest.raises(WorkerLost):
                await answer(engine, question())
        assert not other.connections
    headers = server.received[0].headers
    assert headers["authorization"] == "Bearer sk-far"
    assert headers["x-request-id"] == "test"
    assert headers["accept-encoding"] == "identity"
    assert server.received[0].path == "/v1/chat/completions"


async def test_nobody_there() -> None:
    engine = create_engine(EngineOptions(extra={"url": "http://127.0.0.1:1"}))
    with pytest.raises(WorkerLost):
        await engine.start()
    await engine.aclose()


@pytest.mark.parametrize("extra", [
    {}, {"url": "ftp://x"}, {"url": "http://"}, {"url": "http://u:p@x"}, {"url": "http://x?y"},
    {"url": "http://x:99999"}, {"url": "http://x", "limit": "0"}, {"url": "http://x", "key": "s"},
    {"url": "http://x", "key_env": "NOT_SET"}, {"url": "http://x", "key_file": "/none"},
    {"url": "http://x", "key_env": "A", "key_file": "b"}, {"url": "http://x", "name": "a b"},
])  # fmt: skip
def test_wrong_options_are_refused(extra: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        create_engine(EngineOptions(extra=extra))
