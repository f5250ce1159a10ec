"""Engines behind HTTP, for `engines`: started as a user starts them, asked as a client asks.

Requests are chat completions, streamed, with the image as a data URL in JPEG; they are made before
the clock runs. The processor time is that of the server with all its processes; what the client
computes is not in it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from benchmarks.engines_subject import QUESTION, Clock, image
from benchmarks.processes import BenchmarkError, free_port, next_line, started, wait_for_port

_QUALITY = 90
_DATA = b"data: "
_TIMEOUT = aiohttp.ClientTimeout(total=600)
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.2
_OK = 200


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes chat completions.

    Attributes:
        url: Its base.
        pid: Its main process.
        model: The name to ask for.
    """

    url: str
    pid: int
    model: str


@contextmanager
def silkline_up(engine: str, folder: Path, log: Path) -> Iterator[Server]:
    """`silkline up` with its defaults, but without a cache of answers."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "silkline",
        "up",
        "--port",
        "0",
        "--json",
        "--cache-ttl",
        "0",
    ]
    with started([*command, "--engine", engine, "--model", folder], log) as process:
        ready: dict[str, Any] = json.loads(next_line(process, log))
        yield Server(ready["url"], process.pid, "")


@contextmanager
def llama_server(program: Path, weights: Path, log: Path) -> Iterator[Server]:
    """`llama-server` with 16 slots over a folder with `model.gguf` and `mmproj.gguf`."""
    port = free_port()
    command: list[str | Path] = [
        program,
        "-m",
        weights / "model.gguf",
        "--mmproj",
        weights / "mmproj.gguf",
    ]
    command += ["--port", str(port), "-np", "16", "-c", "16384", "--no-cache-prompt", "--jinja"]
    with started(command, log) as process:
        wait_for_port(process, port, log)
        server = Server(f"http://127.0.0.1:{port}", process.pid, "")
        asyncio.run(_ready(server.url))
        yield server


async def _ready(url: str) -> None:
    """Waits until the model is loaded, which comes after the port is open."""
    async with aiohttp.ClientSession() as session:
        for _ in range(int(_READY_SECONDS / _POLL_SECONDS)):
            async with session.get(f"{url}/health") as response:
                if response.status == _OK:
                    return
            await asyncio.sleep(_POLL_SECONDS)
    raise BenchmarkError(f"{url} is not ready after {_READY_SECONDS:g} s")


def ask_server(
    server: Server, first: int, arrivals: Sequence[float], tokens: int
) -> dict[str, Any]:
    """Asks at these times; returns what `engines_subject.Clock` tells.

    Raises:
        BenchmarkError: A request failed.
    """
    places = range(len(arrivals))
    bodies = [_body(server.model, first + place, tokens) for place in places]
    return asyncio.run(_ask_all(server, bodies, arrivals))


async def _ask_all(
    server: Server, bodies: Sequence[bytes], arrivals: Sequence[float]
) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        clock = Clock(arrivals)

        async def ask(place: int) -> None:
            await asyncio.sleep(max(0.0, arrivals[place] - clock.now()))
            url = f"{server.url}/v1/chat/completions"
            headers = {"content-type": "application/json"}
            async with session.post(url, data=bodies[place], headers=headers) as response:
                if response.status != _OK:
                    raise BenchmarkError(f"{url} answered {response.status}")
                async for line in response.content:
                    _note(line, place, clock)

        await asyncio.gather(*(ask(place) for place in range(len(bodies))))
        return clock.told()


def _note(line: bytes, place: int, clock: Clock) -> None:
    """Notes a chunk that has text, and the count of tokens that the last one tells."""
    if not line.startswith(_DATA) or line.startswith(_DATA + b"[DONE]"):
        return
    chunk: dict[str, Any] = json.loads(line.removeprefix(_DATA))
    if any(choice["delta"].get("content") for choice in chunk.get("choices", ())):
        clock.note(place, 1)
    if chunk.get("usage"):
        clock.count(place, chunk["usage"]["completion_tokens"])


def _body(model: str, number: int, tokens: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image(number)).save(encoded, "JPEG", quality=_QUALITY)
    url = "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    request = {
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(request | ({"model": model} if model else {})).encode()
