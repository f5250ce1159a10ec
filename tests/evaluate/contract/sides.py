"""Both sides of the contract for tests, and ways to spoil one of them."""

from __future__ import annotations

import io
import shutil
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image as PillowImage

from silkline.config import Settings
from silkline.core import Image, PixelBudget, Request
from silkline.engines.base import EngineOptions
from silkline.engines.probe import Probed, Prober, Showing
from silkline.engines.registry import create_engine
from silkline.evaluate.contract import check
from silkline.evaluate.contract.case import Case
from silkline.evaluate.contract.check import Brought, Sides, check_cases
from silkline.evaluate.contract.pack import golden_pack
from silkline.evaluate.contract.reference import Reference
from silkline.evaluate.contract.results import Row
from silkline.evaluate.contract.tolerances import tolerance_of
from silkline.models.resolve import bundled_folder
from silkline.service.contract import ClientPath
from silkline.service.local import create_intake


@cache
def pack() -> Mapping[str, Case]:
    return {case.name: case for case in golden_pack()}


@cache
def reference() -> Reference:
    """The bundled model by transformers."""
    return Reference(bundled_folder())


@asynccontextmanager
async def opened(
    engine: str, model: Path | None = None, extra: Mapping[str, str] | None = None
) -> AsyncGenerator[Sides]:
    """An engine with its whole path, against the bundled model's reference."""
    options = EngineOptions(model=model, max_batch=1, threads=1, extra=extra or {})
    running = create_engine(engine, options)
    assert isinstance(running, Probed)
    await running.start()
    prober = await running.prober()
    try:
        async with create_intake(Settings()) as intake:
            info = running.info
            path, tolerance = ClientPath(intake), tolerance_of(info.precision)
            yield Sides(path, prober, info.pixel_budget, reference(), tolerance)
    finally:
        await prober.aclose()
        await running.aclose()


async def compared(sides: Sides, *names: str) -> dict[str, Row]:
    """The rows of some cases."""
    rows = await check_cases([pack()[name] for name in names], sides)
    return {row.case: row for row in rows}


async def first_broken(sides: Sides, *names: str) -> dict[str, str | None]:
    rows = await compared(sides, *names)
    assert not any(row.refused for row in rows.values()), rows
    return {name: row.first_broken for name, row in rows.items()}


@dataclass
class SpoiledPath:
    """A way to the engine that has a fault: in the files, or in the pictures made of them."""

    path: check.Path
    files: Callable[[bytes], bytes] = lambda data: data
    images: Callable[[Image], Image] = lambda image: image
    reduce: Callable[[Image, PixelBudget], Image] | None = None

    async def bring(self, case: Case, budget: PixelBudget) -> Brought:
        parts = tuple(part if isinstance(part, str) else self.files(part) for part in case.parts)
        spoiled = replace(case, parts=parts)
        if self.reduce is None:
            brought = await self.path.bring(spoiled, budget)
            return replace(brought, images=tuple(map(self.images, brought.images)))
        brought = await self.path.bring(spoiled, check.UNREDUCED)
        images = tuple(self.reduce(image, budget) for image in brought.images)
        return replace(brought, images=images)


@dataclass
class SpoiledProber:
    """An engine that has a fault: in what it takes, or in what it makes of that."""

    prober: Prober
    takes: Callable[[Image], Image] = lambda image: image
    makes: Callable[[Showing], Showing] = lambda showing: showing

    async def show(self, request: Request) -> Showing:
        images = tuple(map(self.takes, request.images))
        return self.makes(await self.prober.show(replace(request, images=images)))

    async def aclose(self) -> None:
        await self.prober.aclose()


def drawn(image: Image, change: Callable[[np.ndarray], np.ndarray]) -> Image:
    """A picture with other pixels."""
    pixels = np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, 3)
    changed = np.ascontiguousarray(change(pixels))
    height, width = changed.shape[:2]
    return replace(image, width=width, height=height, pixels=changed.tobytes())


def swapped(image: Image) -> Image:
    """Blue first."""
    return drawn(image, lambda pixels: pixels[..., ::-1])


def shifted(image: Image) -> Image:
    """As a crop that begins one pixel too late."""
    return drawn(image, lambda pixels: np.roll(pixels, -1, axis=(0, 1)))


def opaque(data: bytes) -> bytes:
    """The colours under the alpha, as `convert("RGB")` leaves them."""
    with PillowImage.open(io.BytesIO(data)) as picture:
        buffer = io.BytesIO()
        picture.convert("RGBA").convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def unturned(data: bytes) -> bytes:
    """The same pixels without their EXIF orientation."""
    with PillowImage.open(io.BytesIO(data)) as picture:
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def spoiled_bundle(folder: Path, changes: Mapping[str, object], template: str = "") -> Path:
    """The bundled model, whose engines read another preprocessor_config.json or chat template."""
    copy = folder / "bundle"
    shutil.copytree(bundled_folder(), copy)
    for place in (copy, copy / "openvino"):
        path = place / "preprocessor_config.json"
        config = msgspec.json.decode(path.read_bytes())
        path.write_bytes(msgspec.json.encode({**config, **changes}))
        if template:
            (place / "chat_template.jinja").write_text(template)
    return copy


def names_of(rows: Sequence[Row]) -> list[str]:
    return [row.case for row in rows]
