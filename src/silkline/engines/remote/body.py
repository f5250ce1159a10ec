"""Encodes a `Request` as the body of `POST /v1/chat/completions`."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from silkline.core import ImagePart, Message, Request, TextPart
from silkline.engines.remote.dialect import Dialect
from silkline.engines.remote.png import encode_png
from silkline.errors import InvalidRequest


def check(request: Request) -> None:
    """Checks a request before it is sent.

    Raises:
        InvalidRequest: A message shows an image that was not sent, or a stop string is empty.
    """
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, ImagePart) and not 0 <= part.index < len(request.images):
                raise InvalidRequest(
                    "A message shows an image that was not sent; there are "
                    f"{len(request.images)}. Send it, or remove it from the message.",
                    param="messages",
                )
    if "" in request.sampling.stop:
        raise InvalidRequest("A stop string is empty; remove it.", param="stop")


def encode_body(request: Request, model: str, dialect: Dialect) -> bytes:
    """Encodes the body, with the images as PNG data URLs; slow for large images.

    Args:
        request: The request.
        model: The model's name at the server.
        dialect: The fields that the server accepts.

    Raises:
        InvalidRequest: A text holds half of a surrogate pair.
    """
    images = [_data_url(encode_png(image)) for image in request.images]
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message, images) for message in request.messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.temperature > 0:
        body["top_p"] = sampling.top_p
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    try:
        return msgspec.json.encode(dialect.translate(body))
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "A text contains an unpaired surrogate, which is not a character; send valid Unicode.",
            param="messages",
        ) from error


def _message(message: Message, images: list[str]) -> dict[str, Any]:
    content: str | list[dict[str, Any]]
    if all(isinstance(part, TextPart) for part in message.parts) and len(message.parts) <= 1:
        # Some servers accept a list of parts only for roles that can have images.
        content = "".join(part.text for part in message.parts if isinstance(part, TextPart))
    else:
        content = [
            {"type": "text", "text": part.text}
            if isinstance(part, TextPart)
            else {"type": "image_url", "image_url": {"url": images[part.index]}}
            for part in message.parts
        ]
    return {"role": message.role.value, "content": content}


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
