"""A server whose executions of keyed requests are counted, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from silkline.config import HistorySettings, ServerSettings, Settings
from silkline.errors import (
    ImageFetchFailed,
    InternalFault,
    InvalidRequest,
    Overloaded,
    SilklineError,
)
from silkline.gateway.failures import render_error
from silkline.gateway.history.store import HistoryStore
from silkline.gateway.idempotency.layer import IdempotencyLayer
from silkline.gateway.request_layer import RequestLayer
from silkline.gateway.request_record import record_of
from silkline.gateway.sse import EventStream, event
from silkline.idempotency.base import KeyStore
from silkline.idempotency.memory import MemoryKeys
from silkline.observe.metrics import Metrics
from silkline.service.lifecycle import Lifecycle
from tests.engines.asking import eventually

CHAT = "/v1/chat/completions"
ERRORS: dict[str, SilklineError] = {
    "wrong": InvalidRequest("It is wrong.", param="messages"),
    "away": ImageFetchFailed("The picture's origin does not answer.", param="messages"),
    "busy": Overloaded("It is busy.", retry_after=7),
    "defect": InternalFault("It is broken."),
}


@dataclass
class Keyed:
    """The server.

    Attributes:
        client: Talks to it.
        port: Where it listens on loopback.
        layer: The layer.
        executions: Bodies of the requests that were executed, in their order.
        gate: Executions of "hold" wait for it.
    """

    client: httpx2.AsyncClient
    port: int
    layer: IdempotencyLayer
    executions: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, body: str, key: str | None = "one", path: str = CHAT) -> httpx2.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(path, content=body, headers=headers)


@asynccontextmanager
async def keyed(
    store: KeyStore | None = None, *, lease_seconds: float = 10.0
) -> AsyncGenerator[Keyed, None]:
    """Runs one; the store is closed with it."""
    store = store or MemoryKeys()
    app = FastAPI()
    layer = IdempotencyLayer(app, store, lease_seconds=lease_seconds)
    history = HistoryStore(HistorySettings(history_count=0))
    outer = RequestLayer(layer, Settings(server=ServerSettings()), Metrics(), Lifecycle(), history)
    server = uvicorn.Server(uvicorn.Config(outer, port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            running = Keyed(client, port, layer)
            _routes(app, running)
            yield running
    finally:
        server.should_exit = True
        await serving
        await store.aclose()


def _routes(app: FastAPI, running: Keyed) -> None:
    for kind in (SilklineError, Exception):
        app.add_exception_handler(kind, render_error)

    @app.post("/v1/chat/completions")
    @app.post("/predict")
    @app.post("/other")
    async def execute(request: Request) -> Response:
        body = (await request.body()).decode()
        running.executions.append(body)
        count = len(running.executions)
        if body in ERRORS:
            raise ERRORS[body]
        if body == "hold":
            await running.gate.wait()
        if body.startswith("stream"):
            return EventStream(_events(body, count), record_of(request), dict, seconds=30)
        text = "x" * int(body.removeprefix("long ")) if body.startswith("long ") else str(count)
        return Response(text, headers={"x-silkline-cache": "miss"}, media_type="text/plain")


async def _events(body: str, count: int) -> AsyncGenerator[bytes, None]:
    yield event({"count": count})
    yield event({"text": "größer 🦉"})
    if body.startswith("stream and "):
        raise ERRORS[body.removeprefix("stream and ")]
