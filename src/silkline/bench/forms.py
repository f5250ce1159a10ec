"""From a picture and a prompt to the bytes of an HTTP request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from silkline.bench.catalogue import Catalogue
from silkline.bench.spec import Form, Target, Traffic

BOUNDARY = "silkline-bench-boundary"
MULTIPART_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

_HERE = "PICTURE-GOES-HERE"
_ASKED = "PROMPT-GOES-HERE"


def multipart(jpeg: bytes, prompt: str, max_tokens: int) -> tuple[bytes, bytes, bytes]:
    """The form of `/predict` in pieces, RFC 7578: head, picture, tail."""
    field = f"--{BOUNDARY}\r\ncontent-disposition: form-data; name="
    head = (
        f'{field}"prompt"\r\n\r\n{prompt}\r\n'
        f'{field}"max_tokens"\r\n\r\n{max_tokens}\r\n'
        f'{field}"image"; filename="picture.jpg"\r\ncontent-type: image/jpeg\r\n\r\n'
    )
    return head.encode(), jpeg, f"\r\n--{BOUNDARY}--\r\n".encode()


def get(target: Target, path: str) -> list[bytes]:
    """A GET request in pieces."""
    return [_head("GET", target, path, target.headers) + b"\r\n"]


class RequestWriter:
    """Writes the requests of one target; a request is a list of pieces, sent one after another."""

    def __init__(
        self, target: Target, traffic: Traffic, catalogue: Catalogue, model: str, origin: str
    ) -> None:
        """Prepares all that is the same for each request.

        Args:
            target: Where they go.
            traffic: Their form.
            catalogue: Pictures and prompts.
            model: The model's name in chat requests.
            origin: URL below which the bench serves its pictures, for the form `url`.
        """
        self._traffic = traffic
        self._catalogue = catalogue
        self._origin = origin
        upload = traffic.form is Form.UPLOAD
        path, kind = ("/predict", MULTIPART_TYPE) if upload else (_CHAT, "application/json")
        headers = {"content-type": kind, **target.headers}
        self._head = _head("POST", target, path, headers) + b"content-length: "
        before, rest = _chat_body(traffic, model).split(f'"{_HERE}"'.encode())
        between, after = rest.split(f'"{_ASKED}"'.encode())
        self._chat = before, between, after

    def request(self, number: int, variant: int) -> list[bytes]:
        """The request about a picture."""
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
        {"type": "image_url", "image_url": {"url": _HERE}},
        {"type": "text", "text": _ASKED},
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
