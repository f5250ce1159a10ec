"""Requests to the Responses API, and checks of what it sends."""

from __future__ import annotations

from typing import Any

import httpx2
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.gateway.asking import MODEL

RESPONSES = "/v1/responses"

_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def user(*urls: str, question: str = "What is this?") -> list[dict[str, Any]]:
    """An input of one message: images, then text."""
    images = [{"type": "input_image", "image_url": url} for url in urls]
    return [{"role": "user", "content": [*images, {"type": "input_text", "text": question}]}]


def asked(*urls: str, question: str = "What is this?", **fields: Any) -> dict[str, Any]:
    """A whole body."""
    return {"model": MODEL, "input": user(*urls, question=question), **fields}


def checked_response(response: dict[str, Any]) -> dict[str, Any]:
    """Returns a response that matches the official client's type exactly."""
    Response.model_validate(response, strict=True)
    return response


def checked_events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns events that match the official client's types and are numbered from 0."""
    for event in events:
        _EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def read_events(text: str) -> list[dict[str, Any]]:
    """The events of a stream; each has its type as its name."""
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        event = httpx2.Response(200, text=data.removeprefix("data: ")).json()
        assert name == f"event: {event['type']}"
        events.append(event)
    return checked_events(events)
