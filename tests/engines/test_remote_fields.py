"""Servers that refuse fields which Silkline adds: they are asked again, and it is remembered."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from silkline.core import Sampling
from silkline.engines.base import Engine
from silkline.errors import InvalidRequest, SilklineError, WorkerLost
from tests.engines.asking import answer, question
from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    OpenAiServer,
    Received,
    Script,
    asked,
    chunk,
    event,
    whole,
)

FORBIDDEN = "Extra inputs are not permitted"


def fastapi(field: str) -> Any:
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", field], "msg": FORBIDDEN,
                        "input": True}]}  # fmt: skip


def openai(field: str) -> Any:
    message = f"Unrecognized request argument supplied: {field}"
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return {"error": error}


def unsupported(field: str) -> Any:
    message = f"Unsupported parameter: '{field}' is not supported with this model."
    return {"error": {"message": message, "param": field, "code": "unsupported_parameter"}}


def anthropic(field: str) -> Any:
    error = {"type": "invalid_request_error", "message": f"{field}: {FORBIDDEN}"}
    return {"type": "error", "error": error}


def vllm(field: str) -> Any:
    message = f"[{{'type': 'extra_forbidden', 'loc': ('body', '{field}'), 'msg': '{FORBIDDEN}'}}]"
    return {"object": "error", "message": message, "type": "BadRequestError", "code": 400}


def serde(field: str) -> Any:
    known = "`model`, `messages`, `max_tokens`, `temperature`, `top_p`, `stream`, `seed`"
    text = f"unknown field `{field}`, expected one of {known} at line 1 column 9"
    return f"Failed to deserialize the JSON body: {text}".encode()


def golang(field: str) -> Any:
    return {"error": f'json: unknown field "{field}"'}


FORMS = [fastapi, openai, unsupported, anthropic, vllm, serde, golang]


def refusing(field: str, status: int, body: Any) -> Script:
    """A server that refuses one field, and otherwise answers without telling usage."""

    async def script(received: Received) -> AsyncIterator[bytes]:
        if field in received.body:
            yield whole(status, body)
            return
        yield STREAM_HEAD + event(chunk({"content": "Hello"})) + event(chunk({}, "stop"))
        yield event("[DONE]") + STREAM_END

    return script


async def asks(engine: Engine, server: OpenAiServer, **fields: Any) -> list[dict[str, Any]]:
    """The bodies that were sent for a question that is answered."""
    before = len(server.received)
    said = await answer(engine, question(**fields))
    assert said.text == "Hello"
    return [received.body for received in server.received[before:]]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("form", FORMS)
async def test_it_is_asked_again_without_stream_options(
    form: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    script = refusing("stream_options", status, form("stream_options"))
    async with asked(script) as (engine, server):
        with caplog.at_level(logging.WARNING, "silkline.remote"):
            first, second = await asks(engine, server)
            (third,) = await asks(engine, server)
    assert "stream_options" in first
    without = {name: value for name, value in first.items() if name != "stream_options"}
    assert second == third == without
    logged = [record.message for record in caplog.records]
    assert logged.count("a remote server refuses optional fields") == 1


@pytest.mark.parametrize(("status", "body"), [
    (400, {"error": "Bad Request"}), (422, {"detail": FORBIDDEN}), (422, b"<html>"), (400, b""),
    (200, {"error": {"message": "Unknown field: stream_options", "code": 400}}),
])  # fmt: skip
async def test_a_server_that_never_answered_need_not_name_the_field(status: int, body: Any) -> None:
    async with asked(refusing("stream_options", status, body)) as (engine, server):
        assert len(await asks(engine, server)) == 2
        assert len(await asks(engine, server)) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_other_fields_that_have_no_effect(form: Any) -> None:
    warm = Sampling(max_tokens=24, temperature=0.5)
    async with asked(refusing("top_p", 400, form("top_p"))) as (engine, server):
        first, second = await asks(engine, server, sampling=warm)
        assert (first.pop("top_p"), first) == (1.0, second)
    async with asked(refusing("max_tokens", 400, form("max_tokens"))) as (engine, server):
        first, second = await asks(engine, server)
        assert first.pop("max_tokens") == second.pop("max_completion_tokens") == 24
        assert first == second


async def test_a_field_that_may_not_stand_beside_another() -> None:
    warm = Sampling(max_tokens=24, temperature=0.5)
    body = {"error": {"message": "`temperature` and `top_p` cannot both be specified."}}
    async with asked(refusing("top_p", 400, body)) as (engine, server):
        first, second = await asks(engine, server, sampling=warm)
        assert (first.pop("top_p"), first) == (1.0, second)


async def test_several_fields_are_learned_one_by_one() -> None:
    async def script(received: Received) -> AsyncIterator[bytes]:
        for field in ("max_tokens", "stream_options", "top_p"):
            if field in received.body:
                yield whole(422, fastapi(field))
                return
        async for sent in refusing("nothing", 400, b"")(received):
            yield sent

    warm = Sampling(max_tokens=24, temperature=0.5)
    async with asked(script) as (engine, server):
        assert len(await asks(engine, server, sampling=warm)) == 4
        assert len(await asks(engine, server, sampling=warm)) == 1


async def error_of(engine: Engine, **fields: Any) -> SilklineError:
    with pytest.raises(SilklineError) as caught:
        await answer(engine, question(**fields))
    return caught.value


@pytest.mark.parametrize("form", FORMS)
async def test_what_the_client_asked_for_is_not_left_out(form: Any) -> None:
    for field, sampling in (
        ("seed", Sampling(max_tokens=24, temperature=0.5, seed=3)),
        ("top_p", Sampling(max_tokens=24, temperature=0.5, top_p=0.9)),
        ("temperature", Sampling(max_tokens=24)),
    ):
        async with asked(refusing(field, 400, form(field))) as (engine, server):
            error = await error_of(engine, sampling=sampling)
            assert isinstance(error, InvalidRequest)
            assert error.param == field
            assert f"'{field}'" in error.message
            assert "too long" not in error.message
            assert len(server.received) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_refusal_of_our_own_field_is_not_the_clients_affair(form: Any) -> None:
    async with asked(refusing("stream", 400, form("stream"))) as (engine, _):
        error = await error_of(engine)
    assert isinstance(error, WorkerLost)
    assert "too long" not in error.message


async def test_a_prompt_that_is_too_long_is_refused_once_the_server_is_known() -> None:
    body = {"error": {"message": "maximum context length is 4096 tokens", "code": 400}}

    async def script(received: Received) -> AsyncIterator[bytes]:
        long = "many" in str(received.body["messages"])
        async for sent in refusing("messages" if long else "nothing", 400, body)(received):
            yield sent

    async with asked(script) as (engine, server):
        await asks(engine, server)
        error = await error_of(engine, text="many words")
        assert isinstance(error, InvalidRequest)
        assert "too long" in error.message
        assert len(server.received) == 2
        assert "stream_options" in (await asks(engine, server))[0]


async def test_it_is_learned_anew_when_the_server_was_away_or_changed() -> None:
    script = refusing("stream_options", 422, fastapi("stream_options"))
    async with asked(script) as (engine, server):
        assert len(await asks(engine, server)) == 2
        await engine.start()  # nothing changed
        assert len(await asks(engine, server)) == 1
        listing, server.listing = server.listing, None
        with pytest.raises(WorkerLost):
            await engine.start()
        server.listing = listing
        await engine.start()
        assert len(await asks(engine, server)) == 2
        server.listing = {"data": [{"id": "org/model", "max_model_len": 2048}]}
        await engine.start()
        assert len(await asks(engine, server)) == 2


async def test_many_at_once_learn_it_together() -> None:
    script = refusing("stream_options", 422, fastapi("stream_options"))
    async with asked(script) as (engine, server):
        said = await asyncio.gather(*(answer(engine, question(seed=None)) for _ in range(20)))
        assert {one.text for one in said} == {"Hello"}
        assert len(await asks(engine, server)) == 1
