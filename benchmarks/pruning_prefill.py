"""Prefill with and without half of the image tokens, for `pruning`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.engines_model import Size, write_model
from benchmarks.figures import Spread, spread
from silkline.core import Image, ImagePart, Message, Request, Role, Sampling, TextPart
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import engine_spec
from silkline.models.pruning import Method, Pruning

SIDE, PATCH = 336, 14
TOKENS = (SIDE // PATCH) ** 2
HALF = 0.5
IMAGES = 3


class Prefill(msgspec.Struct, frozen=True, kw_only=True):
    """The time to the first token.

    Attributes:
        method: The method; "none" keeps all tokens.
        tokens: Image tokens, from `usage`.
        first: Milliseconds to the first token of a new image, vision tower included.
        again: The same for an image whose features are cached: choosing tokens, and prefill.
        faster: How many times as fast as with all tokens, of `again`.
    """

    method: str
    tokens: int
    first: Spread
    again: Spread
    faster: Spread


async def measure_prefill(rounds: int) -> list[Prefill]:
    """Measures all methods in turns, `rounds` times."""
    ways: list[Pruning | None] = [None, *(Pruning(method, HALF) for method in Method)]
    times: dict[str, list[tuple[float, float, int]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights")
        write_model(weights, Size(side=SIDE, patch=PATCH))
        for turn in range(rounds):
            for way in ways if turn % 2 == 0 else ways[::-1]:
                name = "none" if way is None else str(way.method)
                bundle = _bundle(Path(folder, f"{name}-{turn}"), weights, way)
                times.setdefault(name, []).append(await _timed(bundle, turn))
    base = [again for _, again, _ in times["none"]]
    return [
        Prefill(
            method=name,
            tokens=found[0][2],
            first=spread([1000 * each[0] for each in found]),
            again=spread([1000 * each[1] for each in found]),
            faster=spread([one / each[1] for one, each in zip(base, found, strict=True)]),
        )
        for name, found in times.items()
    ]


def _bundle(folder: Path, weights: Path, pruning: Pruning | None) -> Path:
    folder.mkdir()
    (folder / "weights").symlink_to(weights)
    manifest = {
        "schema": 1, "name": "llava-230m", "family": "llava", "revision": folder.name,
        "license": "none", "context_length": 2048, "image_tokens": TOKENS, "image_size": None,
        "files": {}, "engines": {"torch": {
            "path": "weights", "precision": "float32",
            "pruning": None if pruning is None else msgspec.to_builtins(pruning),
        }},
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


async def _timed(bundle: Path, turn: int) -> tuple[float, float, int]:
    """The best seconds to the first token, of new images and of known ones; and the tokens."""
    extra = {"dtype": "float32", "attention": "sdpa", "prefill_chunk": "2048"}
    engine = engine_spec("torch").create(EngineOptions(model=bundle, max_batch=1, extra=extra))
    await engine.start()
    try:
        await _ask(engine, _image(999))
        first, again, tokens = [], [], 0
        for number in range(IMAGES):
            image = _image(turn * IMAGES + number)
            seconds, tokens = await _ask(engine, image)
            first.append(seconds)
            again.append((await _ask(engine, image))[0])
        return min(first), min(again), tokens
    finally:
        await engine.aclose()


def _image(number: int) -> Image:
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return Image(SIDE, SIDE, pixels.tobytes(), f"noise-{number}")


async def _ask(engine: Engine, image: Image) -> tuple[float, int]:
    message = Message(Role.USER, (ImagePart(0), TextPart("Describe this product.")))
    request = Request("bench", (message,), (image,), Sampling(max_tokens=1), 600.0)
    began, tokens = time.perf_counter(), 0
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            tokens = delta.usage.image_tokens if delta.usage is not None else tokens
    return time.perf_counter() - began, tokens


def prefill_table(found: Sequence[Prefill]) -> list[str]:
    """The table for people."""
    if not found:
        return []
    lines = [
        "## Prefill, llava-230m at 576 image tokens, engine torch, float32, one request",
        "",
        "Milliseconds to the first token, median of the rounds (least to most). The features of a",
        "known image are cached: what is left is to choose tokens and to read the prompt.",
        "",
        "| method | image tokens | new image, ms | known image, ms | times as fast |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.method} | {each.tokens} | {each.first:.0f} | {each.again:.0f} "
        f"| {each.faster:.2f} |"
        for each in found
    ]
    return lines
