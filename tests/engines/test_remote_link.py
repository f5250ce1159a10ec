"""The way to a remote server, once it is closed."""

import asyncio

import pytest

from silkline.engines.remote.link import RemoteLink
from silkline.errors import WorkerLost
from tests.engines.openai_server import STREAM_HEAD, event, openai_server, scripted


async def test_reading_on_after_the_end_is_lost_at_once() -> None:
    script = scripted(STREAM_HEAD, event("first"), 60.0)
    async with openai_server(script) as server:
        link = RemoteLink(server.url + "/v1", None, patience=60.0)
        link.open()
        deadline = asyncio.get_running_loop().time() + 60
        async with link.post("/chat/completions", b"{}", deadline, {}) as reply:
            assert b"first" in await reply.read()
            await link.aclose()
            with pytest.raises(WorkerLost, match="no longer used"):
                async with asyncio.timeout(5):
                    await reply.read()
