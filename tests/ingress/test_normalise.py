"""Every kind of picture becomes upright, opaque, 8-bit RGB, in the one documented way."""

import io
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image, ImageChops, ImageOps

from silkline.config import DecodeSettings
from silkline.core import PixelBudget, Stage
from silkline.errors import ImageUndecodable, InvalidRequest
from silkline.ingress.decode import Decoded, DecoderPool
from silkline.ingress.identity import image_digest
from tests.ingress.pictures import chunk, drawing, encode, photograph, png, tiff

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 50_000_000
ANY_SIZE = PixelBudget(max_pixels=LIMIT)
ORIENTATION = 0x0112
WHITE = (255, 255, 255)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    async with DecoderPool(DecodeSettings(decode_processes=1, decode_timeout=30)) as pool:
        yield pool


async def normalised(pool: DecoderPool, data: bytes, budget: PixelBudget = ANY_SIZE) -> Image.Image:
    return as_image(await pool.decode(data, LIMIT, budget))


def as_image(decoded: Decoded) -> Image.Image:
    image = decoded.image
    return Image.frombytes("RGB", (image.width, image.height), image.pixels)


def samples(image: Image.Image) -> list[tuple[int, int, int]]:
    data = image.tobytes()
    return [(data[at], data[at + 1], data[at + 2]) for at in range(0, len(data), 3)]


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


async def test_a_plain_picture_comes_back_as_it_is(pool: DecoderPool) -> None:
    picture = drawing()
    decoded = await pool.decode(encode(picture, "PNG"), LIMIT, ANY_SIZE)
    assert same(as_image(decoded), picture)
    assert decoded.image.digest == image_digest("RGB", 60, 40, picture.tobytes())
    assert decoded.identity.original_pixels == 60 * 40
    assert set(decoded.seconds) == {Stage.DECODE, Stage.RESIZE}
    assert all(seconds >= 0 for seconds in decoded.seconds.values())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO"])
async def test_each_format_is_decoded_as_pillow_does(pool: DecoderPool, kind: str) -> None:
    data = encode(drawing(), kind)
    assert same(await normalised(pool, data), Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_the_orientation_is_applied(pool: DecoderPool, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(drawing(), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)).convert("RGB"))
    if kind != "TIFF":  # Pillow turns a TIFF while it loads it
        opened = Image.open(io.BytesIO(data))
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert expected.size == ((40, 60) if orientation >= 5 else (60, 40))
    assert same(await normalised(pool, data), expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
async def test_an_orientation_that_is_none_changes_nothing(
    pool: DecoderPool, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert (await normalised(pool, encode(drawing(), "JPEG", exif=exif))).size == (60, 40)


async def test_broken_exif_is_none(pool: DecoderPool) -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0"):
        assert (await normalised(pool, encode(drawing(), "JPEG", exif=exif))).size == (60, 40)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
async def test_opaque_modes(pool: DecoderPool, mode: str) -> None:
    picture = drawing(mode=mode)
    assert same(await normalised(pool, encode(picture, "PNG")), picture.convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
async def test_alpha_is_laid_over_white(pool: DecoderPool, kind: str) -> None:
    picture = Image.new("RGBA", (16, 8), (10, 200, 30, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 8, 8))
    result = await normalised(pool, encode(picture, kind, lossless=True, quality=100))
    assert result.getpixel((2, 2)) == WHITE
    assert result.getpixel((13, 2)) == pytest.approx((10, 200, 30), abs=4)


async def test_half_transparent_pixels_are_mixed(pool: DecoderPool) -> None:
    for mode, colour, expected in (
        ("RGBA", (0, 100, 200, 128), (127, 177, 227)),
        ("LA", (100, 128), (177, 177, 177)),
    ):
        data = encode(Image.new(mode, (2, 2), colour), "PNG")
        assert samples(await normalised(pool, data))[0] == pytest.approx(expected, abs=1)


async def test_transparent_palette_entries(pool: DecoderPool) -> None:
    palette = chunk(b"PLTE", bytes([200, 0, 0, 0, 200, 0, 0, 0, 200]))
    rows = b"\0" + bytes([0, 1, 2])
    opaque = png(3, 1, 8, 3, rows, palette)
    assert samples(await normalised(pool, opaque)) == [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    clear = png(3, 1, 8, 3, rows, palette + chunk(b"tRNS", bytes([255, 0, 51])))
    expected = [(200, 0, 0), WHITE, (204, 204, 244)]
    assert samples(await normalised(pool, clear)) == expected


async def test_transparent_colours(pool: DecoderPool) -> None:
    grey = png(3, 1, 8, 0, b"\0" + bytes([7, 8, 9]), chunk(b"tRNS", struct.pack(">H", 8)))
    assert samples(await normalised(pool, grey)) == [(7, 7, 7), WHITE, (9, 9, 9)]
    colour = png(
        2, 1, 8, 2, b"\0" + bytes([1, 2, 3, 1, 2, 4]), chunk(b"tRNS", struct.pack(">3H", 1, 2, 4))
    )
    assert samples(await normalised(pool, colour)) == [(1, 2, 3), WHITE]


async def test_16_bits_keep_the_high_byte(pool: DecoderPool) -> None:
    values = (0, 255, 256, 0x1234, 0x80FF, 0xFFFF)
    expected = [(value >> 8,) * 3 for value in values]
    grey = png(6, 1, 16, 0, b"\0" + struct.pack(">6H", *values))
    assert samples(await normalised(pool, grey)) == expected
    colour = png(2, 1, 16, 2, b"\0" + struct.pack(">6H", *values))
    assert samples(await normalised(pool, colour)) == [(0, 0, 1), (0x12, 0x80, 0xFF)]
    for mode, order in (("I;16", "<6H"), ("I;16B", ">6H")):
        tiff = encode(Image.frombytes(mode, (6, 1), struct.pack(order, *values)), "TIFF")
        assert samples(await normalised(pool, tiff)) == expected


async def test_12_bits_keep_the_upper_8(pool: DecoderPool) -> None:
    data = tiff(2, 1, 12, bytes([0x12, 0x3A, 0xBC]))  # 0x123 and 0xABC
    assert samples(await normalised(pool, data)) == [(0x12,) * 3, (0xAB,) * 3]


async def test_a_transparent_16_bit_grey_is_compared_whole(pool: DecoderPool) -> None:
    trns = chunk(b"tRNS", struct.pack(">H", 0x1234))
    data = png(3, 1, 16, 0, b"\0" + struct.pack(">3H", 0x1233, 0x1234, 0x1334), trns)
    assert samples(await normalised(pool, data)) == [(0x12,) * 3, WHITE, (0x13,) * 3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 256, 65535, -5), (0, 1, 255, 0)),
        ((0, 2**23, 2**31 - 1, -(2**31)), (0, 1, 255, 0)),
        ((0, 0, 0, 0), (0, 0, 0, 0)),
    ],
)
async def test_32_bit_integers(
    pool: DecoderPool, values: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    data = encode(Image.frombytes("I", (4, 1), struct.pack("<4i", *values)), "TIFF")
    assert samples(await normalised(pool, data)) == [(value,) * 3 for value in expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0, 0.5, 1.0, -3.0), (0, 128, 255, 0)),
        ((0.0, 100.0, 255.0, 1.5), (0, 100, 255, 2)),
        ((0.0, 32768.0, 65535.0, 100.0), (0, 128, 255, 0)),
        ((0.0, 5e5, 1e6, -1e6), (0, 128, 255, 0)),
        ((0.0, 0.0, 0.0, 0.0), (0, 0, 0, 0)),
    ],
)
async def test_floating_point(
    pool: DecoderPool, values: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    data = encode(Image.frombytes("F", (4, 1), struct.pack("<4f", *values)), "TIFF")
    assert samples(await normalised(pool, data)) == [(value,) * 3 for value in expected]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("YCbCr", "TIFF"), ("LAB", "TIFF")],
)
async def test_other_colour_spaces_are_converted_as_pillow_does(
    pool: DecoderPool, mode: str, kind: str
) -> None:
    data = encode(drawing(mode=mode), kind)
    result = await normalised(pool, data)
    assert same(result, Image.open(io.BytesIO(data)).convert("RGB"))
    difference = ImageChops.difference(result, drawing()).resize((1, 1), Image.Resampling.BOX)
    assert max(samples(difference)[0]) < 25  # still the same picture: not inverted


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_samples_that_are_no_numbers_are_refused(pool: DecoderPool, value: float) -> None:
    data = encode(Image.frombytes("F", (4, 1), struct.pack("<4f", 0, value, 1, 0)), "TIFF")
    with pytest.raises(ImageUndecodable):
        await normalised(pool, data)


async def test_only_the_first_frame_counts(pool: DecoderPool) -> None:
    frames = [drawing(), ImageOps.invert(drawing()), drawing(mode="L").convert("RGB")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        opened = Image.open(io.BytesIO(data))
        assert getattr(opened, "n_frames", 1) == 3
        assert same(await normalised(pool, data), opened.convert("RGB"))


async def test_a_profile_is_ignored(pool: DecoderPool) -> None:
    data = encode(drawing(), "PNG", icc_profile=b"not a profile at all" * 20)
    assert same(await normalised(pool, data), drawing())


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 200), (200, 1), (2, 400), (7, 3)])
async def test_small_and_long_pictures(pool: DecoderPool, width: int, height: int) -> None:
    data = encode(drawing(width, height), "PNG")
    assert (await normalised(pool, data)).size == (width, height)


@pytest.mark.parametrize(("width", "height"), [(1, 201), (1, 10_000), (10_000, 1), (2, 401)])
async def test_far_longer_than_wide_is_refused(pool: DecoderPool, width: int, height: int) -> None:
    with pytest.raises(InvalidRequest):
        await normalised(pool, encode(Image.new("L", (width, height)), "PNG"))


async def test_the_budget_reduces_as_pillow_does(pool: DecoderPool) -> None:
    picture = photograph(300, 200)
    result = await normalised(pool, encode(picture, "PNG"), PixelBudget(shortest_edge=96))
    assert same(result, picture.resize((144, 96), Image.Resampling.BICUBIC))
    twice = await normalised(pool, encode(result, "PNG"), PixelBudget(shortest_edge=96))
    assert same(twice, result)  # the model's own resize will change nothing either
    small = await normalised(pool, encode(picture, "PNG"), PixelBudget(max_pixels=6000))
    assert small.size == (94, 63)
    assert same(await normalised(pool, encode(drawing(), "PNG"), PixelBudget()), drawing())


async def test_orientation_and_budget_together(pool: DecoderPool) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(photograph(800, 400), "JPEG", quality=95, exif=exif)
    decoded = await pool.decode(data, LIMIT, PixelBudget(shortest_edge=50))
    assert (decoded.image.width, decoded.image.height) == (50, 100)
    assert decoded.identity.original_pixels == 800 * 400


@pytest.mark.parametrize("size", [(1600, 1200), (1601, 1203)])
@pytest.mark.parametrize("edge", [64, 100, 150, 299])
async def test_scaled_decoding_stays_close_to_the_long_way(
    pool: DecoderPool, size: tuple[int, int], edge: int
) -> None:
    data = encode(photograph(*size), "JPEG", quality=90)
    result = await normalised(pool, data, PixelBudget(shortest_edge=edge))
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    expected = whole.resize(result.size, Image.Resampling.BICUBIC)
    difference = ImageChops.difference(result, expected)
    assert max(samples(difference.resize((1, 1), Image.Resampling.BOX))[0]) <= 2
    assert max(max(sample) for sample in samples(difference)) <= 40


async def test_the_same_picture_has_the_same_digest_in_any_wrapping(pool: DecoderPool) -> None:
    picture = drawing()
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    forms = [
        encode(picture, "PNG"),
        encode(picture, "PNG", compress_level=0),
        encode(picture, "BMP"),
        encode(picture, "TIFF", compression="tiff_lzw"),
        encode(picture, "WEBP", lossless=True),
        encode(picture.convert("RGBA"), "PNG"),
        encode(picture.rotate(180), "PNG", exif=exif),
    ]
    digests = {(await pool.decode(data, LIMIT, ANY_SIZE)).image.digest for data in forms}
    assert len(digests) == 1
