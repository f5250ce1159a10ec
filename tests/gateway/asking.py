"""Bodies of requests to the fake engine."""

from __future__ import annotations

from typing import Any

MODEL = "silkline-fake"


def messages(*urls: str, text: str = "What is this?") -> list[dict[str, Any]]:
    """A conversation of one message: pictures, then text."""
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls if url]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]


def asked(*urls: str, **fields: Any) -> dict[str, Any]:
    """A whole chat request."""
    return {"model": MODEL, "messages": messages(*urls), **fields}
