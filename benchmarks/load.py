"""Load on a server: multipart uploads to `/predict`, as in a shop's product form.

The bodies are made before they are sent and the answers are taken apart afterwards, so that little
is computed here while the server is measured; `Measured.cpu_seconds` says how much.

    python -m benchmarks.load http://127.0.0.1:8000 .cache/bench-pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from benchmarks.closed_loop import Cell, Measured, Reply, closed_loop, serve_cells
from benchmarks.pictures import Pictures
from silkline.bench.forms import MULTIPART_TYPE, multipart

_BROKEN = 0
"""The status of a request whose connection broke."""

_COMPUTED = {"miss", "bypass"}
"""What the gateway's `cache` says of an answer that the engine computed."""


class _Usage(msgspec.Struct):
    completion_tokens: int


class _Answer(msgspec.Struct):
    response: str
    usage: _Usage
    cache: str = "bypass"


async def run_load(url: str, pictures: Pictures) -> None:
    """Runs the cells of standard input against the server at `url`."""
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def ask(body: bytes) -> tuple[int, bytes]:
            headers = {"content-type": MULTIPART_TYPE}
            try:
                async with session.post(f"{url}/predict", data=body, headers=headers) as response:
                    return response.status, await response.read()
            except aiohttp.ClientError:
                return _BROKEN, b""

        async def run(cell: Cell) -> Measured:
            numbers = range(cell.first_picture, cell.first_picture + cell.pictures)
            bodies = [
                b"".join(multipart(pictures.jpeg(number), cell.prompt, cell.max_tokens))
                for number in numbers
            ]
            return await closed_loop(cell, bodies, ask, _read)

        await serve_cells(run)


def _read(answer: tuple[int, bytes]) -> Reply:
    status, body = answer
    if status != 200:
        return Reply(status)
    decoded = msgspec.json.decode(body, type=_Answer)
    cached = decoded.cache not in _COMPUTED
    return Reply(status, decoded.response, decoded.usage.completion_tokens, cached)


if __name__ == "__main__":
    uvloop.run(run_load(sys.argv[1], Pictures(Path(sys.argv[2]))))
