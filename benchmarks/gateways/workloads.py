"""What is sent: text, or a photograph as a data URL. No request is sent twice.

The photographs come from scikit-image's wheel (`skimage.data` says that coffee is CC0, and the
Hubble deep field public domain). They are encoded as JPEG once. Each request has its own number: in
the text, and in a comment at the beginning of the JPEG, so that no cache and no shared computation
can answer it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import msgspec
from PIL import Image

from benchmarks.gateways.upstream import MODEL

TEXT = "text"
PHOTOGRAPH = "photograph, 50 KB"
LARGE_PHOTOGRAPH = "photograph, 1 MB"
STREAM = "stream of 32 chunks"

WORKLOADS = (TEXT, PHOTOGRAPH, LARGE_PHOTOGRAPH, STREAM)

_JPEGS = {
    PHOTOGRAPH: ("coffee.png", 50_000),
    LARGE_PHOTOGRAPH: ("hubble_deep_field.jpg", 1_000_000),
}
"""The photograph of each workload and the size of its JPEG, in bytes, which it gets close to."""

_QUALITIES = range(30, 101)
_START = b"\xff\xd8"
_COMMENT_DIGITS = 9
"""Start, comment and number have 15 bytes: 20 digits in Base64, without padding."""

_Chunks = list[bytes]


class Requests(Sequence[_Chunks]):
    """The HTTP requests of one workload, by their numbers; each is a list of chunks to send."""

    def __init__(self, workload: str, host: str, count: int, folder: Path) -> None:
        """Prepares what all requests share.

        Args:
            workload: One of `WORKLOADS`.
            host: For the header `Host`.
            count: How many there are.
            folder: Where `prepare` wrote the JPEGs.
        """
        self._count = count
        self._host = host.encode()
        question: list[object] = [{"type": "text", "text": "What is in image NUMBER?"}]
        self._photograph = b""
        if workload in _JPEGS:
            jpeg = path_of(workload, folder).read_bytes().removeprefix(_START)
            self._photograph = base64.b64encode(jpeg)
            question.append(
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,JPEG"}}
            )
        body = {
            "model": MODEL,
            "stream": workload == STREAM,
            "max_tokens": 64,
            "messages": [{"role": "user", "content": question}],
        }
        before, _, after = msgspec.json.encode(body).partition(b"JPEG")
        self._before, self._after = before, after

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> _Chunks: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Chunks]: ...
    def __getitem__(self, index: int | slice) -> _Chunks | Sequence[_Chunks]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        number = b"%09d" % index
        body = [self._before.replace(b"NUMBER", number)]
        if self._photograph:
            start = _START + b"\xff\xfe" + (_COMMENT_DIGITS + 2).to_bytes(2, "big") + number
            body += [base64.b64encode(start), self._photograph, self._after]
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b\r\nauthorization: Bearer sk-benchmark"
            b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        )
        return [head % (self._host, sum(map(len, body))), *body]


def prepare(source: Path, folder: Path) -> None:
    """Encodes the photographs as JPEG, each at the quality that comes closest to its size.

    Args:
        source: The folder `skimage/data`.
        folder: Where the JPEGs go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for workload, (name, size) in _JPEGS.items():
        path = path_of(workload, folder)
        if not path.exists():
            with Image.open(source / name) as image:
                jpegs = [_jpeg(image.convert("RGB"), quality) for quality in _QUALITIES]
            path.write_bytes(min(jpegs, key=lambda jpeg: abs(len(jpeg) - size)))


def path_of(workload: str, folder: Path) -> Path:
    """The JPEG of a workload."""
    return (folder / _JPEGS[workload][0]).with_suffix(".jpg")


def described(folder: Path) -> list[str]:
    """What each photograph is, for the report."""
    lines = []
    for workload, (name, _) in _JPEGS.items():
        path = path_of(workload, folder)
        with Image.open(path) as image:
            width, height = image.size
        lines.append(f"{workload}: {name}, {width} x {height} pixels, {path.stat().st_size} bytes")
    return lines


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
