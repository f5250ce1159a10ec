"""Sends recorded requests to a candidate, and compares its answers with those that were served.

Only requests of tenants whose content is kept (`history_content`) are there to be sent.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from silkline.errors import SilklineError
from silkline.experiments.bounded import BoundedMean
from silkline.experiments.scorers.compared import agreement_of

_PAGE = 500
_OK = 200
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """How a running server is asked.

    Attributes:
        get: Gets a path of the admin API.
        file: Gets a file of the admin API.
        answer: Posts the body of a chat completion, and returns the answer's text.
    """

    get: Callable[[str], Awaitable[dict[str, Any]]]
    file: Callable[[str], Awaitable[bytes]]
    answer: Callable[[dict[str, Any]], Awaitable[str]]


@dataclass(slots=True)
class Comparison:
    """What a candidate answers to recorded requests.

    Attributes:
        compared: Number of answers that were compared.
        failed: Requests that the candidate did not answer.
        incomplete: Requests whose images are not all kept, or that had several answers.
        different: The ids of those whose answers are not the same, with the agreement.
    """

    compared: int = 0
    failed: int = 0
    incomplete: int = 0
    different: dict[str, float] = field(default_factory=dict)
    _mean: BoundedMean = field(default_factory=lambda: BoundedMean(_ALPHA))
    _sum: float = 0.0

    @property
    def agreement(self) -> float | None:
        """The mean agreement, 0 to 1; None without answers."""
        return self._sum / self.compared if self.compared else None

    @property
    def interval(self) -> tuple[float, float]:
        """Holds the true mean agreement with a chance of 95%."""
        return self._mean.interval

    def add(self, request: str, agreement: float) -> None:
        """Takes the agreement of two answers."""
        self.compared += 1
        self._sum += agreement
        self._mean.add(agreement)
        if agreement < 1:
            self.different[request] = agreement


async def compare(
    server: Server,
    candidate: str,
    since: str,
    maximum: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Compares a candidate's answers to recorded requests, the newest first, one after the other.

    Args:
        server: The server that has the requests and serves the candidate.
        candidate: The name of the candidate.
        since: From when on, as the admin API takes it, such as `7d`.
        maximum: Maximum requests that are sent.
        on_progress: Called with the number of requests so far.

    Raises:
        SilklineError: What `server.get` raises.
    """
    found = Comparison()
    async for number, entry in _recorded(server, since, maximum):
        path = f"/admin/requests/{quote(entry['id'], safe='')}"
        content = await server.get(f"{path}/content")
        body = await _body(server, path, content, entry, candidate)
        if body is None:
            found.incomplete += 1
        else:
            try:
                text = await server.answer(body)
            except SilklineError:
                found.failed += 1
            else:
                found.add(entry["id"], agreement_of(content["answers"][0]["text"], text))
        on_progress(number)
    return found


async def _recorded(
    server: Server, since: str, maximum: int
) -> AsyncGenerator[tuple[int, dict[str, Any]], None]:
    path = f"/admin/requests?since={quote(since, safe='')}&limit={_PAGE}"
    cursor, number = "", 0
    while True:
        page = await server.get(path + cursor)
        for entry in page["requests"]:
            if entry["content"] and entry["status"] == _OK and not entry["error"]:
                number += 1
                yield number, entry
                if number == maximum:
                    return
        if page["next"] is None:
            return
        cursor = f"&cursor={page['next']}"


async def _body(
    server: Server, path: str, content: dict[str, Any], entry: dict[str, Any], candidate: str
) -> dict[str, Any] | None:
    """The chat completion that asks the same again; None if not all of it is kept."""
    indices = [
        part["index"]
        for message in content["messages"]
        for part in message["parts"]
        if "index" in part
    ]
    kept = {image["index"]: image["media_type"] for image in content["images"]}
    if len(content["answers"]) != 1 or kept.keys() != set(indices):
        return None
    urls = {}
    for index, media_type in kept.items():
        data = base64.b64encode(await server.file(f"{path}/images/{index}")).decode()
        urls[index] = f"data:{media_type};base64,{data}"
    messages = [
        {
            "role": message["role"],
            "content": [
                {"type": "text", "text": part["text"]}
                if "text" in part
                else {"type": "image_url", "image_url": {"url": urls[part["index"]]}}
                for part in message["parts"]
            ],
        }
        for message in content["messages"]
    ]
    return {
        "model": candidate,
        "messages": messages,
        "max_tokens": entry["asked"]["max_tokens"],
        "temperature": 0,
    }
