"""How many requests a remote server gets at a time."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import Any

import pytest

from silkline.config import RemoteSettings
from silkline.core import Delta
from silkline.engines.remote.engine import RemoteEngine
from silkline.engines.remote.slots import UNKNOWN_LIMIT, read_slots
from silkline.routing.pool import EnginePool
from silkline.routing.remote import AgreedModel, RemoteReplica
from tests.engines.asking import question
from tests.engines.openai_server import (
    LISTING,
    STREAM_END,
    STREAM_HEAD,
    OpenAiServer,
    chunk,
    event,
    openai_server,
    scripted,
)


def owned_by(owner: str) -> dict[str, Any]:
    return {"object": "list", "data": [{**LISTING["data"][0], "owned_by": owner}]}


async def limit_of(server: OpenAiServer, **settings: Any) -> int:
    async with aclosing(RemoteEngine(RemoteSettings(url=server.url, **settings), None)) as engine:
        await engine.start()
        return engine.limit


@pytest.mark.parametrize(
    ("owner", "properties", "limit"),
    [
        ("llamacpp", {"/props": {"total_slots": 4}}, 6),
        ("sglang", {"/server_info": {"max_running_requests": 128}}, 160),
        ("sglang", {"/server_info": None, "/get_server_info": {"max_running_requests": 8}}, 10),
        ("sglang", {"/server_info": {"max_running_requests": None}}, UNKNOWN_LIMIT),
        ("llamacpp", {"/props": None}, UNKNOWN_LIMIT),
        ("vllm", {"/props": {"total_slots": 4}}, UNKNOWN_LIMIT),
        ("", {}, UNKNOWN_LIMIT),
    ],
)
async def test_the_server_is_asked(owner: str, properties: dict[str, Any], limit: int) -> None:
    async with openai_server(scripted(), owned_by(owner)) as server:
        server.properties = properties
        assert await limit_of(server) == limit
        assert await limit_of(server, limit=3) == 3


@pytest.mark.parametrize(
    ("body", "slots"),
    [
        (b'{"total_slots": 4}', 4),
        (b'{"max_running_requests": 9, "internal_states": [{"x": 1}]}', 9),
        (
            (
                b'{"max_running_requests": 9, "internal_states": '
                b'[{"effective_max_running_requests_per_dp": 4}, '
                b'{"effective_max_running_requests_per_dp": 4}]}'
            ),
            8,
        ),
        (b'{"total_slots": 0}', None),
        (b'{"total_slots": -1}', None),
        (b'{"total_slots": 1000000}', None),
        (b'{"total_slots": "4"}', None),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_only_a_plausible_number_counts(body: bytes, slots: int | None) -> None:
    assert read_slots(body) == slots


async def test_a_pool_takes_the_limit_and_logs_that_it_is_reached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = scripted(STREAM_HEAD, event(chunk({"content": "a"}, "stop")), STREAM_END)
    async with openai_server(script, owned_by("llamacpp")) as server:
        server.properties = {"/props": {"total_slots": 2}}
        told = RemoteReplica("0", RemoteSettings(url=server.url), None, AgreedModel())
        set_to_one = RemoteReplica(
            "1", RemoteSettings(url=server.url, limit=1), None, AgreedModel()
        )
        for replica in (told, set_to_one):
            async with aclosing(EnginePool([replica])) as pool:
                await pool.start()
                with caplog.at_level(logging.WARNING, "silkline.remote"):
                    await deltas_of(pool)
                    await deltas_of(pool)
                assert pool.capacity() == replica.limit
    assert (told.limit, set_to_one.limit) == (4, 1)
    logged = [vars(record)["ecs"] for record in caplog.records if "limit" in record.message]
    assert logged == [{"silkline.replica": "1", "silkline.limit": 1}]


async def deltas_of(pool: EnginePool) -> list[Delta]:
    return [delta async for delta in pool.generate(question())]


async def test_a_server_that_cannot_tell_yet_is_asked_again() -> None:
    """llama-server lists its models while it loads one, but has no properties then."""
    async with openai_server(scripted(), owned_by("llamacpp")) as server:
        server.properties = {"/props": 503}
        async with aclosing(RemoteEngine(RemoteSettings(url=server.url), None)) as remote:
            await remote.start()
            assert remote.limit == UNKNOWN_LIMIT
            server.properties = {"/props": {"total_slots": 4}}
            await remote.probe()
            assert remote.limit == 6
            server.properties = {"/props": {"total_slots": 8}}
            await remote.probe()
            assert remote.limit == 6
