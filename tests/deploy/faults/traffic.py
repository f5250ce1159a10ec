"""Questions that come at a steady rate, whatever becomes of the ones before."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import httpx2

from tests.gateway.asking import messages
from tests.gateway.keyrings import bearer

Question = Callable[[int], dict[str, Any]]
"""Makes the body of the question with a number."""

CHAT = "/v1/chat/completions"


def question(text: str, *urls: str, **fields: Any) -> dict[str, Any]:
    """A body; fields replace those of a short answer."""
    return {"messages": messages(*urls, text=text), "max_tokens": 4, **fields}


def ordinary(number: int) -> dict[str, Any]:
    """Half of them are computed, half of them are repeats; some are streams."""
    return question(f"What is {number if number % 2 else 0}?", stream=number % 4 == 1)


class Traffic:
    """Asks in a thread until it is stopped; `make` and `pause` may be changed meanwhile.

    Attributes:
        make: Makes the questions.
        pause: Seconds between two of them.
    """

    def __init__(self, url: str, key: str) -> None:
        self.make: Question = ordinary
        self.pause = 0.2
        self._url, self._headers = url, bearer(key) if key else {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    async def _run(self) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        async with httpx2.AsyncClient(
            base_url=self._url, headers=self._headers, timeout=120, limits=limits
        ) as client:
            asking: set[asyncio.Task[None]] = set()
            for number in itertools.count():
                asking.add(asyncio.create_task(_ask(client, self.make(number))))
                await asyncio.sleep(self.pause)
                asking = {each for each in asking if not each.done()}
                if self._ended.is_set():
                    break
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)


async def _ask(client: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    try:
        await client.post(CHAT, json=body)
    except httpx2.TransportError:  # a fault may end the gateway
        return
