"""Encodes a `Request` as the body of `POST /v1/chat/completions` or `/v1/completions`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from silkline.core import EncodedImage, Image, ImagePart, Message, Request, TextPart
from silkline.engines.remote.fields import Body, function_call
from silkline.engines.remote.png import encode_png
from silkline.errors import InvalidRequest, ModelNotFound


def check(request: Request, served: Collection[str] | None = None) -> None:
    """Checks a request before it is sent.

    Args:
        request: The request.
        served: The names of all models at the server; None if they are not known.

    Raises:
        InvalidRequest: A message shows an image that was not sent, or a stop string is empty.
        ModelNotFound: The server does not serve the request's adapter.
    """
    # A server's 404 would count against the server, and so against its other models.
    if request.adapter is not None and served is not None and request.adapter.name not in served:
        raise ModelNotFound(
            "The model's server does not list this adapter. Load it there, or give the name that "
            "the server lists.",
            param="model",
        )
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


@dataclass(frozen=True, slots=True)
class ImageForm:
    """How images are sent to a server.

    Attributes:
        files: Whether it gets the file that an image came as, if normalising changed nothing.
        compressed: Whether all other images, which it gets as PNG, are compressed.
    """

    files: bool = True
    compressed: bool = True

    def is_file(self, image: Image) -> bool:
        """Whether an image is sent as the file that it came as."""
        return self.files and image.encoded is not None

    def url(self, image: Image) -> msgspec.Raw:
        """An image as a data URL in JSON."""
        file = image.encoded if self.files else None
        if file is None:
            file = EncodedImage(encode_png(image, compressed=self.compressed), "image/png")
        quoted = msgspec.json.encode(file.data)  # Base64, seven times faster than binascii
        head = f'"data:{file.media_type};base64,'.encode()
        return msgspec.Raw(b"".join((head, memoryview(quoted)[1:])))


ANY_SERVER = ImageForm()
"""How images are sent to a server of which nothing is known."""


def encode_body(request: Request, model: str, fields: Body, form: ImageForm = ANY_SERVER) -> bytes:
    """Encodes the body, with the images as data URLs; slow for large images.

    Args:
        request: The request.
        model: The name of the server's own model.
        fields: All other fields, in the words of the server.
        form: How images are sent.

    Raises:
        InvalidRequest: A text holds half of a surrogate pair.
    """
    images = [form.url(image) for image in request.images]
    body: Body = {"model": model if request.adapter is None else request.adapter.name}
    if request.options.raw:
        body["prompt"] = "".join(_text(message) for message in request.messages)
    else:
        body["messages"] = [_message(message, images) for message in request.messages]
    try:
        return msgspec.json.encode({**body, **fields})
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "A text contains an unpaired surrogate, which is not a character; send valid Unicode.",
            param="messages",
        ) from error


def _message(message: Message, images: list[msgspec.Raw]) -> Body:
    body: Body = {"role": message.role.value, "content": _content(message, images)}
    if message.reasoning:
        # vLLM reads one of them and ignores the other; all other servers do the opposite.
        body["reasoning_content"] = body["reasoning"] = message.reasoning
    if message.tool_calls:
        body["content"] = body["content"] or None
        body["tool_calls"] = [function_call(call) for call in message.tool_calls]
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _content(message: Message, images: list[msgspec.Raw]) -> str | list[Body]:
    if all(isinstance(part, TextPart) for part in message.parts) and len(message.parts) <= 1:
        # Some servers accept a list of parts only for roles that can have images.
        return _text(message)
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": images[part.index]}}
        for part in message.parts
    ]


def _text(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))
