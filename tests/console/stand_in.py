"""A stand-in for the gateway: the console's HTTP contract with answers that a test scripts."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image, ImageDraw

import silkline

CONSOLE = Path(silkline.__file__).parent / "gateway" / "console"
MODEL = "silkline-mini"
MODEL_TAG = f"{MODEL}@4f1d9c27ab03"
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

TIMELINE = {
    "decode": 0.0031,
    "resize": 0.0012,
    "queue": 0.0004,
    "prefill": 0.0417,
    "generate": 0.2,
}
USAGE = {
    "prompt_tokens": 83,
    "completion_tokens": 21,
    "total_tokens": 104,
    "prompt_tokens_details": {"cached_tokens": 7, "image_tokens": 64},
}

Step = bytes | asyncio.Event | float
"""Bytes are sent, an event is waited for, a number is a pause in seconds."""


@dataclass(frozen=True)
class Reply:
    """What one chat request gets; `cut` ends it by breaking the connection."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def event(data: object, *, kind: str | None = None, newline: str = "\n") -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    name = "" if kind is None else f"event: {kind}{newline}"
    return f"{name}data: {text}{newline}{newline}".encode()


def chunk(text: str | None = None, *, finish: str | None = None) -> dict[str, Any]:
    """A `chat.completion.chunk` with a piece of the answer."""
    delta = {} if text is None else {"content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        "usage": None,
    }


def account(*, cache: str = "bypass", model: str = MODEL_TAG) -> dict[str, Any]:
    """The last chunk: usage, cache state, model and timeline."""
    extra = {"cache": cache, "model": model, "timeline": TIMELINE}
    return {**chunk(), "choices": [], "usage": USAGE, "silkline": extra}


STREAM_HEADERS = {
    "content-type": "text/event-stream",
    "x-silkline-cache": "bypass",
    "x-silkline-model": MODEL_TAG,
    "server-timing": "decode;dur=3.1, resize;dur=1.2",
}
DONE = event("[DONE]")


def answer(
    *pieces: str | asyncio.Event | float,
    finish: str = "stop",
    cache: str = "bypass",
    model: str = MODEL_TAG,
) -> Reply:
    """A whole streamed answer, piece by piece, with pauses or events in between."""
    steps: list[Step] = [event(chunk(""))]
    steps += [event(chunk(piece)) if isinstance(piece, str) else piece for piece in pieces]
    steps += [event(chunk(finish=finish)), event(account(cache=cache, model=model)), DONE]
    return Reply(steps, headers={**STREAM_HEADERS, "x-silkline-cache": cache})


def stream(*steps: Step, cut: bool = False) -> Reply:
    """Raw bytes under a stream's headers."""
    return Reply(steps, headers=STREAM_HEADERS, cut=cut)


def error_body(code: str, message: str, *, param: str | None = None) -> dict[str, Any]:
    """The error body of the contract."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return {"error": error}


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    retry_after: int | None = None,
) -> Reply:
    """An answer with an error status."""
    headers = {"content-type": "application/json"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return Reply([json.dumps(error_body(code, message, param=param)).encode()], status, headers)


def sample_jpeg() -> bytes:
    """A small picture of a mug, as the gateway serves one."""
    picture = Image.new("RGB", (320, 240), (226, 221, 210))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((190, 85, 255, 160), outline=(176, 44, 40), width=14)
    draw.rounded_rectangle((90, 55, 210, 195), 18, fill=(200, 52, 46))
    for x in range(104, 206, 26):
        draw.rectangle((x, 60, x + 10, 190), fill=(240, 235, 228))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    return out.getvalue()


class StandIn:
    """The server: a test sets the first attributes, and reads what it noted in the others."""

    def __init__(self) -> None:
        self.url = ""
        self.ready = 200
        self.model = MODEL
        self.key: str | None = None
        self.reply: Reply | Callable[[dict[str, Any]], Reply] = answer("A red ", "mug.")
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.left = asyncio.Event()
        """Set when a client went away before its answer was whole."""

    def app(self) -> web.Application:
        """Build the routes."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.on_response_prepare.append(self._secure)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/sample.jpg", self._sample)
        app.router.add_get("/", self._index)
        app.router.add_static("/", CONSOLE)
        return app

    async def _secure(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["content-security-policy"] = CONTENT_SECURITY_POLICY
        response.headers["x-content-type-options"] = "nosniff"

    async def _index(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(CONSOLE / "index.html")

    async def _ready(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=self.ready)

    async def _sample(self, request: web.Request) -> web.Response:
        return web.Response(body=sample_jpeg(), content_type="image/jpeg")

    def _refused(self, request: web.Request) -> bool:
        return self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}"

    async def _models(self, request: web.Request) -> web.Response:
        if self._refused(request):
            return web.json_response(error_body("invalid_api_key", "No key."), status=401)
        return web.json_response(
            {"object": "list", "data": [{"id": self.model, "object": "model"}]}
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.authorizations.append(request.headers.get("authorization"))
        reply = self.reply if isinstance(self.reply, Reply) else self.reply(body)
        headers = {**reply.headers, "x-request-id": f"req-{len(self.bodies):04d}"}
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        try:
            for step in reply.steps:
                if isinstance(step, bytes):
                    await response.write(step)
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    await asyncio.sleep(step)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        if reply.cut and request.transport is not None:
            request.transport.abort()
        return response


@asynccontextmanager
async def running_stand_in() -> AsyncIterator[StandIn]:
    """Serve on a free port of the loopback address."""
    stand_in = StandIn()
    runner = web.AppRunner(
        stand_in.app(), handler_cancellation=True, access_log=None, shutdown_timeout=1
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        stand_in.url = f"http://{host}:{port}/"
        yield stand_in
    finally:
        await runner.cleanup()
