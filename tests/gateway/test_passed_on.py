"""What Silkline does not know reaches the server behind it, unless its owner forbids it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.engines.openai_server import (
    STREAM_END,
    STREAM_HEAD,
    OpenAiServer,
    Received,
    chunk,
    event,
    openai_server,
    scripted,
)
from tests.gateway.test_bad_input import check
from tests.pictures import data_url, encoded
from tests.serving import Served, served

CHAT = "/v1/chat/completions"
HELLO = event(chunk({"content": "Hello."})) + event(chunk({}, "stop"))
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
SCRIPT = scripted(STREAM_HEAD, HELLO, event(chunk(None, usage=USAGE)), event("[DONE]"), STREAM_END)


pytestmark = pytest.mark.asyncio(loop_scope="module")


class Behind:
    """A remote server, and a gateway in front of it for each setting that was asked for."""

    def __init__(self, server: OpenAiServer, running: ExitStack) -> None:
        self.server = server
        self._running = running
        self._gateways: dict[str, Served] = {}

    @property
    def received(self) -> list[Received]:
        return self.server.received

    async def gateway(self, settings: str) -> Served:
        if settings not in self._gateways:
            remote = f"{self.server.url} {settings}"
            starting = served("--engine", "remote", "--remotes", remote, "--cache-ttl", "0")
            self._gateways[settings] = await asyncio.to_thread(
                self._running.enter_context, starting
            )
        return self._gateways[settings]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[Behind]:
    async with openai_server(SCRIPT) as server:
        running = ExitStack()
        yield Behind(server, running)
        await asyncio.to_thread(running.close)


@pytest.fixture
def behind(servers: Behind) -> Behind:
    servers.received.clear()
    return servers


async def ask(
    behind: Behind, settings: str, body: dict[str, Any], path: str = CHAT
) -> httpx2.Response:
    """Asks a gateway in front of the server."""
    gateway = await behind.gateway(settings)
    return await asyncio.to_thread(httpx2.post, gateway.url + path, json=body, timeout=30)


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi"}], **fields}


async def test_unknown_and_unsupported_fields_are_passed_on(behind: Behind) -> None:
    reply = await ask(behind, "name=far", chat(mood={"a": [1]}, typical_p=0.5, api_key="x"))
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-silkline-ignored"] == "api_key"
    sent = behind.received[0].body
    assert (sent["mood"], sent["typical_p"]) == ({"a": [1]}, 0.5)
    assert "api_key" not in sent


@pytest.mark.slow
async def test_what_the_owner_blocks_is_ignored_or_refused(behind: Behind) -> None:
    settings = "block_fields=mood+typical_*"
    reply = await ask(behind, settings, chat(mood=1, calm=2))
    assert reply.headers["x-silkline-ignored"] == "mood"
    assert behind.received[0].body["calm"] == 2
    assert "mood" not in behind.received[0].body
    refused = await ask(behind, settings, chat(typical_p=0.5))
    assert check(refused, 400, "invalid_request")["param"] == "typical_p"


@pytest.mark.slow
async def test_many_unknown_fields_are_all_passed_on(behind: Behind) -> None:
    fields = {f"f{place}": place for place in range(64)}
    reply = await ask(behind, "", chat(**fields))
    assert reply.status_code == 200, reply.text
    assert fields.items() <= behind.received[0].body.items()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "passed"),
    [
        ("", set()),
        ("pass_fields=*+verbosity", {"verbosity"}),
        ("pass_fields=verb*+service_tier+*_key", {"verbosity", "service_tier"}),
        ("pass_fields=*+verbosity+user block_fields=user", {"verbosity"}),
        ("pass_fields=prompt_cache_key", {"prompt_cache_key"}),
    ],
)
async def test_a_field_without_effect_is_passed_on_only_if_it_is_named(
    behind: Behind, settings: str, passed: set[str]
) -> None:
    fields = {"verbosity": "low", "service_tier": "flex", "user": "a", "prompt_cache_key": "k"}
    reply = await ask(behind, settings, chat(**fields))
    assert reply.status_code == 200, reply.text
    assert "x-silkline-ignored" not in reply.headers
    assert set(behind.received[0].body) & set(fields) == passed


@pytest.mark.parametrize("path", [CHAT, "/predict"])
@pytest.mark.parametrize(
    ("field", "thinks"),
    [
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"reasoning": {"enabled": False}}, False),
        ({"reasoning": {"effort": "none"}}, False),
        ({"think": False}, False),
        ({"think": True}, True),
        ({"enable_thinking": False}, False),
        ({"reasoning_effort": "none"}, False),
    ],
)
async def test_whether_to_think_reaches_the_remote(
    behind: Behind, path: str, field: dict[str, Any], thinks: bool
) -> None:
    body = chat(**field) if path == CHAT else {"image_url": data_url(encoded()), **field}
    reply = await ask(behind, "", body, path)
    assert reply.status_code == 200, reply.text
    sent = behind.received[0].body
    assert sent["chat_template_kwargs"] == {"enable_thinking": thinks, "thinking": thinks}
    assert not {"thinking", "reasoning", "think"} & set(sent)


async def test_a_plain_image_goes_on_as_the_file_that_it_came_as(behind: Behind) -> None:
    url = data_url(encoded())
    image = {"type": "image_url", "image_url": {"url": url}}
    reply = await ask(behind, "", {"messages": [{"role": "user", "content": [image]}]})
    assert reply.status_code == 200, reply.text
    parts = behind.received[0].body["messages"][0]["content"]
    assert parts[0]["image_url"]["url"] == url
