"""A shop on a free port, and a model whose answers a test decides."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from examples.shop.describing import Describer
from examples.shop.images import Images
from examples.shop.settings import Settings
from examples.shop.tables import Tables
from examples.shop.web import create_app
from silkline.catalog.product import Price, Product, image_digest
from silkline.catalog.vocabulary import Value

SECRET = "a secret of the tests"
MUG: dict[str, Value] = {
    "category": "mug",
    "colour": "red",
    "pattern": "striped",
    "count": 1,
    "label": None,
}


@dataclass
class StandIn:
    """Answers chat requests by the image's digest, as a model that never errs or errs as told.

    Attributes:
        seen: What the model reads from an image, by its digest.
        written: What the model named "author" writes.
        requests: The bodies of all chat requests.
        feedback: The bodies of all feedback.
        has_experiment: Whether feedback is taken.
        is_down: Whether requests fail.
    """

    seen: dict[str, dict[str, Value]] = field(default_factory=dict)
    written: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    has_experiment: bool = True
    is_down: bool = False

    def app(self) -> ASGIApp:
        """The stand-in as an ASGI application."""
        return Router(
            [
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/feedback", self._feedback, methods=["POST"]),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if self.is_down:
            return JSONResponse({"error": {"message": "down"}}, 400)
        self.requests.append(body)
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        digest = image_digest(base64.b64decode(url.partition(",")[2]))
        text = self.written if body["model"] == "author" else json.dumps(self.seen[digest])
        message = {"role": "assistant", "content": text}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
        headers = {
            "x-request-id": f"request-{len(self.requests)}",
            "x-silkline-model": "shop@1",
            "x-silkline-cache": "miss",
        }
        return JSONResponse(answer, headers=headers)

    async def _feedback(self, request: Request) -> Response:
        self.feedback.append(await request.json())
        return JSONResponse({}, 200 if self.has_experiment else 404)


@dataclass
class Shop:
    """A running shop with its model.

    Attributes:
        url: Of its pages.
        describer: What it describes products with.
        model: Its stand-in for a model.
    """

    url: str
    describer: Describer
    model: StandIn

    @property
    def tables(self) -> Tables:
        return self.describer.tables

    def put(self, identity: str, seen: dict[str, Value] | None = None, **changes: Any) -> Product:
        """Puts a red striped mug into the table; `changes` are attributes, or the price."""
        digest = self.describer.images.put(identity.encode())
        self.model.seen[digest] = MUG if seen is None else seen
        price = Price(Decimal(changes.pop("price", "39")), "USD")
        product = Product(id=identity, attributes=MUG | changes, price=price, image=digest)
        self.tables.put(product)
        return product


@contextmanager
def running_shop(folder: Path, **settings: Any) -> Iterator[Shop]:
    """A shop with an empty table until the block ends."""
    model = StandIn()
    with on_loopback(model.app()) as server:
        chosen = Settings(
            **{
                "server": f"{server}/v1",
                "database": f"sqlite:///{folder}/shop.sqlite",
                "images": f"file://{folder}/images",
            }
            | settings
        )
        tables = Tables(chosen.database)
        describer = Describer(chosen, tables, Images(chosen.images))
        with on_loopback(create_app(describer, SECRET)) as url:
            yield Shop(url, describer, model)
        tables.close()


@contextmanager
def on_loopback(app: ASGIApp) -> Iterator[str]:
    """Serves an application on a free port, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
