"""Reads the images of a whole catalogue by OpenAI's batch API, in the server's idle capacity."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from openai import OpenAI
from openai.types import Batch

from examples.shop.asked import Asked

ENDPOINT: Final = "/v1/chat/completions"
POLL_SECONDS = 2.0
"""Time between two questions whether a batch has ended."""

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_OK = 200


def answers_by_batch(
    client: OpenAI, requests: Sequence[tuple[str, Mapping[str, Any]]], *, max_lines: int = 1000
) -> dict[str, Asked]:
    """Sends chat requests as batches and waits for them.

    Args:
        client: The official client.
        requests: Bodies of chat requests, each with an id.
        max_lines: The largest number of requests in a batch: with 20 KB an image, 20 MB a file.

    Returns:
        The answers by id. A request that failed has none: ask it again.

    Raises:
        OpenAIError: The server has no batch API, or refused a batch.
    """
    starts = range(0, len(requests), max_lines)
    batches = [_create(client, requests[start : start + max_lines]) for start in starts]
    found: dict[str, Asked] = {}
    for batch in batches:
        found |= dict(_results(client, _ended(client, batch.id)))
    return found


def _create(client: OpenAI, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> Batch:
    lines = (
        msgspec.json.encode({"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body})
        for name, body in requests
    )
    file = client.files.create(file=("catalogue.jsonl", b"\n".join(lines)), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")


def _ended(client: OpenAI, identity: str) -> Batch:
    while (batch := client.batches.retrieve(identity)).status not in _ENDED:
        time.sleep(POLL_SECONDS)
    return batch


def _results(client: OpenAI, batch: Batch) -> Iterator[tuple[str, Asked]]:
    if batch.output_file_id is None:
        return
    for line in client.files.content(batch.output_file_id).text.splitlines():
        result = msgspec.json.decode(line)
        response = result.get("response") or {}
        if response.get("status_code") != _OK:
            continue
        body = response["body"]
        yield (
            result["custom_id"],
            Asked(
                text=body["choices"][0]["message"]["content"] or "",
                request_id=response.get("request_id") or "",
                model=body["model"],
                cache="batch",
            ),
        )
