"""A file that lacks only its end is decoded; one that lacks pixels is refused, wherever it ends."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.errors import ImageUndecodable
from silkline.ingress.decode import DecoderPool
from silkline.ingress.jpeg_end import with_end
from tests.ingress.pictures import drawing, encode, photograph

END = b"\xff\xd9"
LIMIT = 10_000_000
BUDGET = PixelBudget(max_pixels=LIMIT)

WAYS: dict[str, dict[str, Any]] = {
    "baseline": {"subsampling": 0},
    "4:2:0": {"subsampling": 2},
    "optimised": {"subsampling": 1, "optimize": True},
    "progressive": {"progressive": True},
    "fine": {"progressive": True, "quality": 98},
    "rows": {"restart_marker_rows": 1},
    "blocks": {"restart_marker_blocks": 2},
    "progressive blocks": {"restart_marker_blocks": 3, "progressive": True},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    async with DecoderPool(DecodeSettings(decode_processes=1, decode_timeout=30)) as pool:
        yield pool


def jpeg(mode: str, way: str) -> bytes:
    return encode(photograph(43, 37).convert(mode), "JPEG", **WAYS[way])


async def decoded(pool: DecoderPool, data: bytes) -> bytes | None:
    """The pixels, or None where the file is refused as damaged."""
    try:
        return (await pool.decode(data, LIMIT, BUDGET)).image.pixels
    except ImageUndecodable:
        return None


def opened(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return image.tobytes()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
async def test_a_jpeg_without_its_end_is_decoded(pool: DecoderPool, mode: str, way: str) -> None:
    data = jpeg(mode, way)
    whole = await decoded(pool, data)
    bare = data.removesuffix(END)
    assert whole is not None
    for file in (bare, bare + b"\xff", bare + bytes(3), bare + bytes(500), data + bytes(500),
                 data + b"trailer", data + END):  # fmt: skip
        assert await decoded(pool, file) == whole


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("way", WAYS)
async def test_a_jpeg_that_lacks_rows_is_refused(pool: DecoderPool, way: str) -> None:
    data = jpeg("RGB", way)
    for part in (0.4, 0.7, 0.9, 0.97):
        cut = data[: int(len(data) * part)]
        for file in (cut, cut + b"\xff", cut + bytes(4), cut + bytes(5000)):
            assert await decoded(pool, file) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_cut_at_any_byte_it_has_all_its_pixels_or_is_refused(mode: str, way: str) -> None:
    data = jpeg(mode, way)
    whole, taken = opened(data), 0
    for end in range(data.index(b"\xff\xda") + 16, len(data)):
        ended = with_end(data[:end], opened)
        if ended is not None:
            assert opened(ended) == whole, end
            taken += 1
    assert taken >= 2


@pytest.mark.asyncio(loop_scope="module")
async def test_the_first_of_several_without_its_end(pool: DecoderPool) -> None:
    data = encode(drawing(), "MPO", save_all=True, append_images=[photograph(60, 40)])
    whole = await decoded(pool, data)
    first = data.index(END) + 2
    assert whole is not None
    for end in (len(data) - 2, len(data) - 100, first + 10, first, first - 1, first - 2):
        assert await decoded(pool, data[:end]) == whole
    for end in (first - 10, first - 100):
        assert await decoded(pool, data[:end]) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_a_reduced_jpeg_without_its_end_is_the_same(pool: DecoderPool) -> None:
    data = encode(photograph(800, 600), "JPEG")
    small = PixelBudget(shortest_edge=64)
    whole = await pool.decode(data, LIMIT, small)
    bare = await pool.decode(data.removesuffix(END), LIMIT, small)
    assert bare.image.digest == whole.image.digest


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("kind", "ends"), [("PNG", 12), ("GIF", 1)])
async def test_other_formats_without_their_end(pool: DecoderPool, kind: str, ends: int) -> None:
    data = encode(drawing(), kind)
    whole = await decoded(pool, data)
    assert whole is not None
    assert await decoded(pool, data[:-ends]) == whole
    assert await decoded(pool, data + bytes(100)) == whole
    for end in range(60, len(data)):
        assert await decoded(pool, data[:end]) in {None, whole}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("lossless", [True, False])
async def test_a_webp_with_padding_or_a_wrong_length(pool: DecoderPool, lossless: bool) -> None:
    data = encode(drawing(), "WEBP", lossless=lossless)
    whole = await decoded(pool, data)
    assert whole is not None
    longer = data[:4] + (len(data) - 8 + 64).to_bytes(4, "little") + data[8:]
    for file in (data + bytes(64), longer + bytes(64)):
        assert await decoded(pool, file) == whole
    for end in range(20, len(data) - 1):
        assert await decoded(pool, data[:end]) is None
