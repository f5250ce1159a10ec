"""Files and batches through the official client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from openai import OpenAI
from openai.types import Batch

from tests.gateway.asking import MODEL

CHAT = "/v1/chat/completions"


def line(custom_id: str, text: str, *, url: str = CHAT, **body: Any) -> dict[str, Any]:
    """A line that asks a text."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": text}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked}


def upload(client: OpenAI, lines: Iterable[dict[str, Any] | str]) -> str:
    """Uploads lines, as JSON or as they are; returns the file's id."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    content = "\n".join(texts).encode()
    return client.files.create(file=("in.jsonl", content), purpose="batch").id


def create(client: OpenAI, lines: Iterable[dict[str, Any] | str], **fields: Any) -> Batch:
    """Uploads lines and creates a batch of them."""
    given = {"endpoint": CHAT, "completion_window": "24h", **fields}
    return client.batches.create(input_file_id=upload(client, lines), **given)


def ended(client: OpenAI, batch: str, seconds: float = 60.0) -> Batch:
    """Waits for the end of a batch."""
    limit = time.monotonic() + seconds
    found = client.batches.retrieve(batch)
    while time.monotonic() < limit:
        if found.status in {"completed", "failed", "cancelled", "expired"}:
            return found
        time.sleep(0.05)
        found = client.batches.retrieve(batch)
    raise AssertionError(f"the batch is {found.status}: {found.request_counts}")


def results(client: OpenAI, file: str | None) -> list[dict[str, Any]]:
    """The lines of a file of results; none without a file."""
    if file is None:
        return []
    return [json.loads(one) for one in client.files.content(file).text.splitlines()]


def text_of(result: dict[str, Any]) -> str:
    """The answer of a line."""
    return str(result["response"]["body"]["choices"][0]["message"]["content"])
