"""A small OpenAI-compatible server for tests: answers as it is told, and remembers what came."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
USAGE = {"prompt_tokens": 70, "completion_tokens": 3, "total_tokens": 73}


@dataclass
class StandIn:
    """A running server.

    Attributes:
        url: Where it is.
        bodies: What it was asked, decoded.
        headers: The headers of each request.
        at_once: Most requests that were open at the same time.
    """

    url: str = ""
    bodies: list[dict[str, object]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    open: int = 0
    at_once: int = 0

    def pictures(self) -> list[bytes]:
        """The pictures that came as data URLs."""
        found = []
        for body in self.bodies:
            text = json.dumps(body)
            data = text.partition("base64,")[2].partition('"')[0]
            found.append(base64.b64decode(data))
        return found


async def answered(request: web.Request) -> web.StreamResponse:
    """An answer from the cache, at once."""
    headers = {"x-silkline-cache": "hit", "server-timing": "decode;dur=1.5, cache;dur=0.5"}
    body = {"choices": [{"message": {"content": "A red mug."}}], "usage": USAGE}
    return web.json_response(body, headers=headers)


@asynccontextmanager
async def stand_in(answer: Answer = answered) -> AsyncIterator[StandIn]:
    """Runs a server in this event loop until the block ends."""
    server = StandIn()

    async def chat(request: web.Request) -> web.StreamResponse:
        server.open += 1
        server.at_once = max(server.at_once, server.open)
        try:
            server.headers.append(dict(request.headers))
            server.bodies.append(await request.json())
            return await answer(request)
        finally:
            server.open -= 1

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "stand-in"}]})

    app = web.Application(client_max_size=2**25)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def stalling(seconds: float, after: int) -> Answer:
    """Answers at once, but stands still once, all requests together, for so many seconds."""
    free = asyncio.Event()
    free.set()
    seen = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        seen += 1
        if seen == after:
            free.clear()
            asyncio.get_running_loop().call_later(seconds, free.set)
        await free.wait()
        return await answered(request)

    return answer
