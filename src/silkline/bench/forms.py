"""Builds HTTP requests, as bytes, from an image and a prompt."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from silkline.bench.catalogue import Catalogue
from silkline.bench.spec import Form, Target, Traffic

BOUNDARY = "silkline-bench-boundary"
MULTIPART_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

_IMAGE_MARK = "IMAGE-GOES-HERE"
_PROMPT_MARK = "PROMPT-GOES-HERE"


def multipart(jpeg: bytes, prompt: str, max_tokens: int) -> tuple[bytes, bytes, bytes]:
    """The multipart body of `/predict` (RFC 7578) in chunks: head, image, tail."""
    field = f"--{BOUNDARY}\r\ncontent-disposition: form-data; name="
    head = (
        f'{field}"prompt"\r\n\r\n{prompt}\r\n'
        f'{field}"max_tokens"\r\n\r\n{max_tokens}\r\n'
        f'{field}"image"; filename="picture.jpg"\r\ncontent-type: image/jpeg\r\n\r\n'
    )
    return head.encode(), jpeg, f"\r\n--{BOUNDARY}--\r\n".encode()


def get(target: Target, path: str) -> list[bytes]:
    """A GET request, as chunks."""
    return [_head("GET", target, path, target.headers) + b"\r\n"]


class RequestWriter:
    """Builds the requests to one target; a request is a list of chunks to send in order."""

    def __init__(
        self, target: Target, traffic: Traffic, catalogue: Catalogue, model: str, origin: str
    ) -> None:
        """Builds the parts that all requests share.

        Args:
            target: The target.
            traffic: What requests contain.
            catalogue: Images and prompts.
            model: The model's name in chat requests.
            origin: Base URL of the load test's image server, for the form `url`.
        """
        self._traffic = traffic
        self._catalogue = catalogue
        self._origin = origin
        upload = traffic.form is Form.UPLOAD
        path, kind = ("/predict", MULTIPART_TYPE) if upload else (_CHAT, "application/json")
        headers = {"content-type": kind, **target.headers}
        self._head = _head("POST", target, path, headers) + b"content-length: "
        before, rest = _chat_body(traffic, model).split(f'"{_IMAGE_MARK}"'.encode())
        between, after = rest.split(f'"{_PROMPT_MARK}"'.encode())
        self._chat = before, between, after

    def request(self, number: int, variant: int) -> list[bytes]:
        """The request for an image, as chunks."""
        prompt = self._catalogue.prompt(number)
        if self._traffic.form is Form.UPLOAD:
            jpeg = self._catalogue.image(number, variant).data
            chunks = multipart(jpeg, prompt, self._traffic.max_tokens)
            return [self._length(sum(map(len, chunks))), *chunks]
        before, between, after = self._chat
        begin, middle = before + b'"', self._url(number, variant)
        end = b'"' + between + msgspec.json.encode(prompt) + after
        length = sum(map(len, middle), len(begin) + len(end))
        return [self._length(length) + begin, *middle, end]

    def _url(self, number: int, variant: int) -> list[bytes]:
        if self._traffic.form is Form.URL and self._origin:
            return [f"{self._origin}/{number}-{variant}".encode()]
        image = self._catalogue.image(number, variant)
        if image.url:
            return [msgspec.json.encode(image.url)[1:-1]]
        return [f"data:{image.media_type};base64,".encode(), base64.b64encode(image.data)]

    def _length(self, length: int) -> bytes:
        return self._head + b"%d\r\n\r\n" % length


_CHAT = "/v1/chat/completions"


def _chat_body(traffic: Traffic, model: str) -> bytes:
    parts = [
        {"type": "image_url", "image_url": {"url": _IMAGE_MARK}},
        {"type": "text", "text": _PROMPT_MARK},
    ]
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": traffic.max_tokens,
        "temperature": 0,
    }
    if traffic.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


def _head(method: str, target: Target, path: str, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(target.url)
    lines = [f"{method} {parts.path}{path} HTTP/1.1", f"host: {parts.netloc.rpartition('@')[2]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")
