"""Case 11: small files that would become large are refused before they do."""

import contextlib
import struct
import time
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.errors import ImageTooLarge, ImageUndecodable
from silkline.ingress.decode import DecoderPool
from tests.ingress.pictures import (
    bmp_claiming,
    chunk,
    drawing,
    encode,
    gif_claiming,
    jpeg_claiming,
    png,
    png_claiming,
    tiff_claiming,
    webp_claiming,
)
from tests.processes import DECODER, children

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 50_000_000
BUDGET = PixelBudget(shortest_edge=224)
MEMORY_BYTES = 200 * 1024 * 1024
HANG_SECONDS = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    async with DecoderPool(DecodeSettings(decode_processes=1)) as pool:
        yield pool


def compressed_text(kind: bytes, size: int) -> bytes:
    body = zlib.compress(bytes(size), 9)
    return chunk(kind, b"key\0\0" + (b"\0\0\0" if kind == b"iTXt" else b"") + body)


def png_with(*chunks: bytes) -> bytes:
    rows = b"".join(b"\0" + bytes(3 * 8) for _ in range(8))
    return png(8, 8, 8, 2, rows, b"".join(chunks))


def animated_png(frames: int) -> bytes:
    """An APNG that announces many frames, and has a frame of which each is four bytes of header."""
    control = chunk(b"acTL", struct.pack(">II", frames, 0))
    first = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 1, 0, 0))
    return png_with(control, first)


def nested_exif(depth: int) -> bytes:
    """EXIF whose directories point at each other, then at themselves."""
    entry = struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + entry * depth


TOO_LARGE = {
    "png 50,000 x 50,000": png_claiming(50_000, 50_000),
    "png just over": png_claiming(50_000, 1001),
    "png 2^31 x 2^31": png_claiming(2**31 - 1, 2**31 - 1),
    "gif frame": gif_claiming(65_535, 65_535),
    "gif canvas": gif_claiming(1, 1, canvas=60_000),
    "bmp": bmp_claiming(50_000, 50_000),
    "bmp upside down": bmp_claiming(50_000, -50_000),
    "webp": webp_claiming(2**14, 2**14),
    "tiff": tiff_claiming(50_000, 50_000),
    "jpeg": jpeg_claiming(60_000, 60_000),
    "zTXt": png_with(compressed_text(b"zTXt", 60_000_000)),
    "iCCP": png_with(compressed_text(b"iCCP", 60_000_000)),
    "many zTXt": png_with(*[compressed_text(b"zTXt", 1_000_000)] * 40),
}


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_it_is_too_large(pool: DecoderPool, name: str) -> None:
    with pytest.raises(ImageTooLarge):
        await measured(pool, TOO_LARGE[name])


async def measured(pool: DecoderPool, data: bytes) -> None:
    """Decodes, and holds the child to its memory and time whatever comes of it."""
    (child,) = children(DECODER)
    begun = time.monotonic()
    try:
        await pool.decode(data, LIMIT, BUDGET)
    finally:
        assert time.monotonic() - begun < HANG_SECONDS
        assert children(DECODER) == [child]
        assert child.memory_info().rss < MEMORY_BYTES


HARMLESS = {
    "apng of a million frames": animated_png(1_000_000),
    "nested exif": encode(drawing(), "JPEG", exif=nested_exif(1000)),
    "iTXt": png_with(compressed_text(b"iTXt", 900_000)),
    "a large profile": encode(drawing(), "JPEG", icc_profile=bytes(5_000_000)),
    "much plain text": png_with(*[chunk(b"tEXt", b"key\0" + b"x" * 1000)] * 1000),
    "a picture before other things": encode(drawing(), "JPEG") + b"<?php system($_GET[0]);" * 99,
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_it_is_decoded_or_refused_within_bounds(pool: DecoderPool, name: str) -> None:
    with contextlib.suppress(ImageTooLarge, ImageUndecodable):
        await measured(pool, HARMLESS[name])


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "bmp"])
async def test_pictures_without_pixels_are_broken(pool: DecoderPool, name: str) -> None:
    data = {
        "png": png_claiming(0, 5),
        "jpeg": jpeg_claiming(0, 5),
        "gif": gif_claiming(0, 0, canvas=0),
        "bmp": bmp_claiming(0, 5),
    }[name]
    with pytest.raises(ImageUndecodable):
        await measured(pool, data)
