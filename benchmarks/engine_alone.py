"""The engine without a gateway: no HTTP, no second process, no queue but its own.

The same JPEG bytes are decoded in threads of this process, as many as the gateway has decoding
children and by the function that these run, and the engine answers with the options that
`silkline up` gives it by default.
What the gateway adds to this is what it costs.

    python -m benchmarks.engine_alone openvino silkline-mini .cache/bench-pictures
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import uvloop

from benchmarks.closed_loop import Cell, Measured, Reply, closed_loop, serve_cells
from benchmarks.pictures import SIZE, Pictures
from silkline.config import Settings
from silkline.core import Image, ImagePart, Message, PixelBudget, Request, Role, Sampling, TextPart
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.ingress.identity import image_digest
from silkline.ingress.normalise import normalise, prepare
from silkline.models.resolve import resolve_model


async def run_engine(name: str, model: str, pictures: Pictures) -> None:
    """Runs the cells of standard input on an engine of this process."""
    prepare()
    defaults = Settings().engine
    engine = create_engine(
        name,
        EngineOptions(
            model=resolve_model(model).folder,
            max_batch=defaults.max_batch,
            kv_cache_bytes=defaults.kv_cache_bytes,
            threads=defaults.threads,
        ),
    )
    await engine.start()
    threads = ThreadPoolExecutor(Settings().decode.decode_processes)
    try:

        async def run(cell: Cell) -> Measured:
            numbers = range(cell.first_picture, cell.first_picture + cell.pictures)
            jpegs = [pictures.jpeg(number) for number in numbers]

            async def ask(jpeg: bytes) -> Reply:
                return await _answer(engine, threads, jpeg, cell)

            return await closed_loop(cell, jpegs, ask, lambda reply: reply)

        await serve_cells(run)
    finally:
        await engine.aclose()


async def _answer(engine: Engine, threads: Executor, jpeg: bytes, cell: Cell) -> Reply:
    loop = asyncio.get_running_loop()
    image = await loop.run_in_executor(threads, _decode, jpeg, engine.info.pixel_budget)
    request = Request(
        id="benchmark",
        messages=(Message(Role.USER, (ImagePart(0), TextPart(cell.prompt))),),
        images=(image,),
        sampling=Sampling(max_tokens=cell.max_tokens),
        stream=False,
    )
    text: list[str] = []
    tokens = 0
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            text.append(delta.text)
            if delta.usage is not None:
                tokens = delta.usage.completion_tokens
    return Reply(200, "".join(text), tokens)


def _decode(jpeg: bytes, budget: PixelBudget) -> Image:
    picture = normalise(jpeg, "JPEG", SIZE * SIZE, (budget.shortest_edge, budget.max_pixels, 0))
    size = picture.width, picture.height
    return Image(*size, picture.pixels, image_digest("RGB", *size, picture.pixels))


if __name__ == "__main__":
    uvloop.run(run_engine(sys.argv[1], sys.argv[2], Pictures(Path(sys.argv[3]))))
