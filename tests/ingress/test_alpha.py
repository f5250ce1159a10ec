"""Alpha channels: by format and header, which are real and which were never filled in."""

import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.ingress.decode import DecoderPool
from tests.ingress.pictures import encode

pytestmark = pytest.mark.asyncio(loop_scope="module")

RED, GREEN, BLUE = (200, 40, 10), (20, 180, 60), (30, 60, 220)
COLOURS = (RED, GREEN, BLUE, (90, 90, 90))
WHITE = (255, 255, 255)
LIMIT = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    async with DecoderPool(DecodeSettings(decode_processes=1, decode_timeout=30)) as pool:
        yield pool


async def pixels(pool: DecoderPool, data: bytes) -> list[tuple[int, ...]]:
    image = (await pool.decode(data, LIMIT, PixelBudget(max_pixels=LIMIT))).image
    return [tuple(image.pixels[at : at + 3]) for at in range(0, len(image.pixels), 3)]


def over_white(colours: tuple[tuple[int, ...], ...], alphas: tuple[int, ...]) -> list[object]:
    return [
        pytest.approx([round((part * alpha + 255 * (255 - alpha)) / 255) for part in colour], abs=1)
        for colour, alpha in zip(colours, alphas, strict=True)
    ]


def bmp(header: int, compression: int, masks: tuple[int, ...], rows: bytes, bits: int) -> bytes:
    """A bitmap of 2x2 pixels, its rows from the top; masks stand in the header or behind it."""
    head = struct.pack("<IiiHHIIiiII", header, 2, -2, 1, bits, compression, len(rows), 0, 0, 0, 0)
    head += struct.pack(f"<{len(masks)}I", *masks)
    head = head.ljust(header, b"\0")
    return (
        b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows
    )


ARGB = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
ABGR = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)


def packed(masks: tuple[int, ...], alphas: tuple[int, ...]) -> bytes:
    """Pixels of 32 bits by their masks."""
    words = []
    for colour, alpha in zip(COLOURS, alphas, strict=True):
        word = 0
        for value, mask in zip((*colour, alpha), masks, strict=False):
            word |= value * (mask & -mask)
        words.append(word)
    return struct.pack("<4I", *words)


@pytest.mark.parametrize("masks", [ARGB, ABGR])
@pytest.mark.parametrize("header", [56, 108, 124])
async def test_a_bitmap_with_a_mask_for_alpha(
    pool: DecoderPool, header: int, masks: tuple[int, ...]
) -> None:
    unused = bmp(header, 3, masks, packed(masks, (0, 0, 0, 0)), 32)
    assert await pixels(pool, unused) == list(COLOURS)
    for alphas in ((255, 0, 128, 0), (0, 0, 0, 1), (255, 255, 255, 255)):
        used = bmp(header, 3, masks, packed(masks, alphas), 32)
        assert await pixels(pool, used) == over_white(COLOURS, alphas)


@pytest.mark.parametrize(("header", "compression", "masks"), [
    (40, 0, ()), (40, 3, ARGB[:3]), (52, 3, ARGB[:3]), (56, 3, (*ARGB[:3], 0)), (108, 0, ()),
    (124, 0, ()), (108, 3, (*ARGB[:3], 0)), (124, 3, (*ARGB[:3], 0)),
])  # fmt: skip
@pytest.mark.parametrize("fourth", [0, 77, 255])
async def test_a_bitmap_without_a_mask_for_alpha_is_opaque(
    pool: DecoderPool, header: int, compression: int, masks: tuple[int, ...], fourth: int
) -> None:
    data = bmp(header, compression, masks, packed(ARGB, (fourth, 0, 0, 0)), 32)
    assert await pixels(pool, data) == list(COLOURS)


@pytest.mark.parametrize("alpha", [0, 0x8000])
async def test_a_bitmap_of_16_bits_is_opaque(pool: DecoderPool, alpha: int) -> None:
    words = [alpha | 31 << 10, alpha | 31 << 5, alpha | 31, alpha]
    masks = (0x7C00, 0x3E0, 0x1F, 0x8000)
    data = bmp(124, 3, masks, struct.pack("<4H", *words), 16)
    assert await pixels(pool, data) == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]


async def test_a_black_bitmap_without_alpha_is_black(pool: DecoderPool) -> None:
    assert await pixels(pool, bmp(124, 3, ARGB, bytes(16), 32)) == [(0, 0, 0)] * 4


def tiff(samples: bytes, bands: int, extra: int | None, order: str = "<", bits: int = 8) -> bytes:
    """2x2 pixels whose last band is what `extra` says, or nothing."""
    values = struct.pack(f"{order}{bands}H", *[bits] * bands)
    short = bands == 2  # then they stand in the entry itself
    behind = 8 + len(samples)
    numbers = {256: 2, 257: 2, 259: 1, 262: 1 if short else 2, 273: 8, 277: bands, 278: 2,
               279: len(samples)}  # fmt: skip
    if extra is not None:
        numbers[338] = extra
    entries = {tag: struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in numbers.items()}
    place = values if short else struct.pack(f"{order}I", behind)
    entries[258] = struct.pack(f"{order}HHI", 258, 3, bands) + place
    at = behind + len(values)
    body = b"".join(entries[tag] for tag in sorted(entries))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}I", at) + samples + values
    return head + struct.pack(f"{order}H", len(entries)) + body + bytes(4)


def banded(alphas: tuple[int, ...], premultiplied: bool = False) -> bytes:
    data = b""
    for colour, alpha in zip(COLOURS, alphas, strict=True):
        parts = [round(part * alpha / 255) for part in colour] if premultiplied else colour
        data += bytes([*parts, alpha])
    return data


ZEROS, MIXED = (0, 0, 0, 0), (255, 0, 128, 200)


@pytest.mark.parametrize("order", ["<", ">"])
async def test_a_tiff_says_what_its_fourth_channel_is(pool: DecoderPool, order: str) -> None:
    for extra in (0, None, 2, 1):
        for alphas in (ZEROS, MIXED):
            data = tiff(banded(alphas, premultiplied=extra == 1), 4, extra, order)
            opaque = extra == 0 or (extra is None and alphas == ZEROS)
            expected = list(COLOURS) if opaque else over_white(COLOURS, alphas)
            assert await pixels(pool, data) == expected, (extra, alphas)


async def test_a_premultiplied_colour_is_not_made_darker(pool: DecoderPool) -> None:
    """A pixel of white at half its strength is white over white."""
    half = bytes([128, 128, 128, 128]) * 4
    assert await pixels(pool, tiff(half, 4, 1)) == [WHITE] * 4
    assert await pixels(pool, tiff(bytes([128, 128]) * 4, 2, 1)) == [WHITE] * 4


async def test_a_grey_tiff_says_what_its_second_channel_is(pool: DecoderPool) -> None:
    for extra, alpha, expected in (
        (0, 0, 60), (0, 128, 60), (2, 0, 255), (2, 128, 157), (1, 255, 60), (1, 0, 255),
    ):  # fmt: skip
        value = 0 if (extra, alpha) == (1, 0) else 60
        data = tiff(bytes([value, alpha]) * 4, 2, extra)
        assert await pixels(pool, data) == [pytest.approx((expected,) * 3, abs=1)] * 4, extra


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "GIF", "TIFF"])
async def test_where_the_format_has_alpha_nothing_is_white(pool: DecoderPool, kind: str) -> None:
    clear = Image.new("RGBA", (16, 16), (200, 40, 10, 0))
    data = encode(clear, kind, lossless=True, quality=100)
    assert await pixels(pool, data) == [WHITE] * 256


async def test_a_png_that_is_transparent_throughout_is_white(pool: DecoderPool) -> None:
    palette = Image.new("RGB", (4, 4), RED).quantize(2)
    index = palette.getpixel((0, 0))
    for data in (
        encode(Image.new("LA", (4, 4), (60, 0)), "PNG"),
        encode(palette, "PNG", transparency=index),
        encode(Image.new("RGB", (4, 4), RED), "PNG", transparency=RED),
    ):
        assert await pixels(pool, data) == [WHITE] * 16


async def test_a_run_length_bitmap_is_opaque(pool: DecoderPool) -> None:
    palette = b"".join(bytes([*reversed(colour), 0]) for colour in COLOURS)
    rows = bytes([1, 2, 1, 3, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1])  # from the bottom
    head = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 8, 1, len(rows), 0, 0, 4, 0) + palette
    data = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head))
    assert await pixels(pool, data + head + rows) == list(COLOURS)
