"""The child process that decodes images: the only place where a parser reads hostile bytes.

`decoder_link` starts it with an empty environment and talks to it over standard input and output
(`decoder_wire`). Before it reads the first byte, it gives up what a decoder does not need: memory
above its limit, new file descriptors (so no files and no sockets), new processes, written files,
core dumps, and, where the system can filter them, all other system calls (`decoder_jail`). It ends
when its input ends, so it never outlives the gateway. A child that hangs in a parser is killed by
its CPU time limit.

Imports only the standard library, Pillow and Silkline modules that do the same: it starts in well
under 0.3 s and uses little memory. A child for documents also imports PDFium (`documents`), before
it gives up file access.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import BinaryIO, Final, TypedDict

from silkline.ingress.decoder_jail import confine
from silkline.ingress.decoder_wire import LENGTHS, Refusal, frame
from silkline.ingress.identity import image_digest
from silkline.ingress.normalise import Normalised, Refused, image_size, normalise, prepare

MODE: Final = "RGB"
_BUFFER_BYTES: Final = 64 * 1024

Reply = dict[str, str | int | float]


class Request(TypedDict):
    """The header of a request; `decoder_wire` says which have which fields."""

    op: str
    format: str
    max_pixels: int
    cpu_seconds: float
    budget: tuple[int | None, int, int]
    needs_pixels: bool
    page: int
    dpi: int


Answer = Callable[[Request, bytes], tuple[Reply, bytes]]


def main(memory_bytes: int, *, documents: bool = False) -> None:
    """Serves requests from standard input until it ends.

    Args:
        memory_bytes: Maximum address space, in bytes.
        documents: Whether it serves requests for documents instead of images.
    """
    requests = os.fdopen(0, "rb", buffering=_BUFFER_BYTES, closefd=False)
    replies = os.fdopen(os.dup(1), "wb", buffering=_BUFFER_BYTES)
    os.dup2(2, 1)  # keeps anything that a library prints out of the frames
    prepare()
    answer = _document_answer() if documents else _image_answer
    confined = lock_down(memory_bytes)
    _send(replies, {"type": "ready", "confined": confined})
    while _serve_one(requests, replies, answer):
        pass


def _serve_one(requests: BinaryIO, replies: BinaryIO, answer: Answer) -> bool:
    """Answers one request; False at the end of input. Keeps no reference to its data."""
    request = _receive(requests)
    if request is None:
        return False
    _send(replies, *_answered(answer, *request))
    return True


def lock_down(memory_bytes: int) -> bool:
    """Permanently drops what a decoder does not need; False if system calls are not filtered."""
    for limit in (
        resource.RLIMIT_CORE,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_NPROC,
        resource.RLIMIT_NOFILE,
    ):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # The gateway drains on these signals and still needs its children, which end with their input.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return confine()


def _answered(answer: Answer, request: Request, data: bytes) -> tuple[Reply, bytes]:
    """The answer to a request, or its refusal."""
    _limit_processor_time(request["cpu_seconds"])
    try:
        return answer(request, data)
    except Refused as refused:
        return {"type": "refused", "why": refused.why.value}, b""
    except MemoryError:
        return {"type": "refused", "why": Refusal.OUT_OF_MEMORY.value}, b""


def _image_answer(request: Request, data: bytes) -> tuple[Reply, bytes]:
    name, max_pixels = request["format"], request["max_pixels"]
    if request["op"] == "size":
        width, height = image_size(data, name, max_pixels)
        return {"type": "size", "width": width, "height": height}, b""
    image = normalise(data, name, max_pixels, request["budget"])
    reply, pixels = _image_reply(image)
    is_enough = image.unchanged and len(data) <= len(pixels) and not request["needs_pixels"]
    return reply, b"" if is_enough else pixels


def _document_answer() -> Answer:
    from silkline.ingress.documents import page_count, render  # noqa: PLC0415 - PDFium is optional

    def answer(request: Request, data: bytes) -> tuple[Reply, bytes]:
        if request["op"] == "pages":
            return {"type": "pages", "count": page_count(data)}, b""
        page, dpi, max_pixels = request["page"], request["dpi"], request["max_pixels"]
        return _image_reply(render(data, page, dpi, max_pixels, request["budget"]))

    return answer


def _image_reply(image: Normalised) -> tuple[Reply, bytes]:
    reply: Reply = {
        "type": "picture",
        "width": image.width,
        "height": image.height,
        "original_pixels": image.original_pixels,
        "digest": image_digest(MODE, image.width, image.height, image.pixels),
        "perceptual": f"{image.look.perceptual:016x}",
        "brightness": image.look.brightness,
        "resize_seconds": image.resize_seconds,
        "unchanged": image.unchanged,
    }
    return reply, image.pixels


def _limit_processor_time(seconds: float) -> None:
    """Kills the process when this job uses more CPU; the gateway's own timeout comes first."""
    soft = math.ceil(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _receive(requests: BinaryIO) -> tuple[Request, bytes] | None:
    lengths = requests.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    header_bytes, body_bytes = LENGTHS.unpack(lengths)
    header, body = requests.read(header_bytes), requests.read(body_bytes)
    if len(body) < body_bytes:
        return None
    return json.loads(header), body


def _send(replies: BinaryIO, header: Reply, body: bytes = b"") -> None:
    replies.write(frame(json.dumps(header).encode(), len(body)))
    replies.write(body)
    replies.flush()
