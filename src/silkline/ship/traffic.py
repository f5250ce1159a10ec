"""The requests of a canary: the data set's questions, through the path of clients.

Where the set has references, each answer's score is sent as feedback, so that a candidate that
answers worse is found.
"""

from __future__ import annotations

import asyncio
import base64
import mimetypes
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from silkline.errors import EnvironmentFault
from silkline.evaluate.item import ImageKind, Item, ItemImage
from silkline.evaluate.metrics.catalogue import Metric
from silkline.ship.admin import headers_of
from silkline.ship.machine import Show
from silkline.ship.plan import ShipPlan

_OF_THE_WHOLE_SET = "cider"
"""The metric whose values say something for all items together only."""

_LOOK_SECONDS = 0.5
_PAUSE_SECONDS = 0.2
_MAX_UNREACHED = 20
"""Requests in a row without a response after which the server is taken to be gone."""

_OK = 200
_UNDECIDED = ("split", "paused")
"""How the admin API calls the states in which an experiment is not decided."""


class Traffic:
    """Clients that ask the data set's questions again and again; each waits for its answer."""

    def __init__(self, plan: ShipPlan, url: str, model: str) -> None:
        """Takes what to ask; `model` is the name that clients use."""
        judging = plan.judging
        self._url = url
        self._model = model
        self._headers = headers_of(plan.destination.key_env) | {"cache-control": "no-store"}
        self._max_tokens = plan.subject.max_tokens
        self._metric = _scoring(judging.metrics)
        self._questions = _endless(judging.dataset.items, judging.seed)
        self._clients = judging.load.clients or 4
        self._unreached = 0
        self.sent = 0
        """Requests that were answered or refused so far."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Callable[[], bool]]:
        """Sends requests while the block runs; gives what tells whether it still does."""
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            clients = [asyncio.create_task(self._client(session)) for _ in range(self._clients)]
            try:
                yield lambda: not all(client.done() for client in clients)
            finally:
                for client in clients:
                    client.cancel()
                await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while self._unreached < _MAX_UNREACHED:
            item = next(self._questions)
            try:
                await self._ask(session, item)
                self._unreached = 0
            except (aiohttp.ClientError, TimeoutError):
                self._unreached += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, item: Item) -> None:
        image = {
            "type": "image_url",
            "image_url": {"url": await asyncio.to_thread(_url, item.image)},
        }
        body = {
            "model": self._model,
            "messages": [
                {"role": "user", "content": [image, {"type": "text", "text": item.prompt}]}
            ],
            "max_tokens": self._max_tokens,
            "temperature": 0,
        }
        async with session.post(f"{self._url}/v1/chat/completions", json=body) as response:
            status, found = response.status, await response.json(content_type=None)
            request, arm = (
                response.headers.get(name, "") for name in ("x-request-id", "x-silkline-experiment")
            )
        self.sent += 1
        if status != _OK:
            await asyncio.sleep(_PAUSE_SECONDS)
        elif arm and self._metric is not None:
            answer = found["choices"][0]["message"]["content"] or ""
            reward = self._metric.score([item], [answer])[0] / self._metric.highest
            feedback = {"request_id": request, "reward": min(1.0, max(0.0, reward))}
            async with session.post(f"{self._url}/v1/feedback", json=feedback):
                pass


async def until_decided(
    traffic: Traffic, look: Callable[[], Awaitable[dict[str, Any]]], show: Show, maximum: int
) -> dict[str, Any]:
    """Sends requests until an experiment decides, or until enough were sent.

    Args:
        traffic: What sends the requests.
        look: Returns the experiment.
        show: Called with the progress.
        maximum: Maximum requests.

    Returns:
        The experiment, decided or not.

    Raises:
        EnvironmentFault: The server does not answer any more.
    """
    found = await look()
    if found["serving"] not in _UNDECIDED:
        return found
    began = time.monotonic()
    async with traffic.running() as runs:
        while found["serving"] in _UNDECIDED and traffic.sent < maximum:
            if not runs():
                raise EnvironmentFault(
                    "The server does not answer any more. Look into its log, then resume."
                )
            await asyncio.sleep(_LOOK_SECONDS)
            found = await look()
            rate = traffic.sent / (time.monotonic() - began)
            detail = f"share {found['share']:.0%}, {rate:.1f}/s: {found['reason']}"
            show("canary", traffic.sent, maximum, detail)
    return await look()


def _scoring(metrics: Sequence[Metric]) -> Metric | None:
    """The metric that judges single answers; None without references."""
    return next((metric for metric in metrics if metric.name != _OF_THE_WHOLE_SET), None)


def _endless(items: Sequence[Item], seed: int) -> Iterator[Item]:
    """The items in a random order, again and again."""
    drawn = random.Random(seed)  # noqa: S311 - no secret
    while True:
        yield from drawn.sample(items, len(items))


def _url(image: ItemImage) -> str:
    """An image as clients send it."""
    if image.kind is ImageKind.URL:
        return image.text
    if image.kind is ImageKind.BASE64:
        return f"data:image/*;base64,{image.text}"
    path = Path(image.text)
    kind = mimetypes.guess_type(path.name)[0] or "image/jpeg"
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{kind};base64,{content}"
