"""Which images keep the file they came from, for servers that decode it themselves."""

import io
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image, ImageCms

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.ingress.decode import DecoderPool
from silkline.ingress.formats import FileFormat, sniff
from silkline.ingress.header import plain_size
from silkline.ingress.normalise import image_size
from silkline.ingress.wanted import Wanted
from tests.ingress.pictures import drawing, encode, photograph

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 50_000_000
ANY_SIZE = PixelBudget(max_pixels=LIMIT)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FRAMES = [drawing(), drawing().rotate(180)]
ANIMATED = {"save_all": True, "append_images": FRAMES[1:]}
CLEAR = drawing(mode="RGBA")
CLEAR.putalpha(128)
ARCHIVE = b"PK\3\4" + bytes(40)
TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    async with DecoderPool(DecodeSettings(decode_processes=1, decode_timeout=30)) as pool:
        yield pool


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_a_plain_file_is_kept_as_it_came(pool: DecoderPool, kind: str, mode: str) -> None:
    data = encode(drawing(mode=mode), kind)
    image = (await pool.decode(data, LIMIT, ANY_SIZE, wanted=Wanted.PIXELS_AND_FILE)).image
    assert image.encoded is not None
    assert image.encoded.data == data
    assert image.encoded.media_type == f"image/{kind.lower()}"
    by_others = Image.open(io.BytesIO(data)).convert("RGB")
    assert by_others.tobytes() == image.pixels
    size = plain_size(data, FileFormat(kind))
    assert size == image_size(data, kind, LIMIT) == (image.width, image.height)

    only_file = (await pool.decode(data, LIMIT, ANY_SIZE, wanted=Wanted.FILE)).image
    assert (only_file.pixels, only_file.encoded) == (b"", image.encoded)
    assert (only_file.digest, only_file.width) == (image.digest, image.width)
    assert (await pool.decode(data, LIMIT, ANY_SIZE)).image.encoded is None


@pytest.mark.parametrize(
    "data",
    [
        encode(drawing(), "JPEG", exif=TURNED),
        encode(drawing(), "PNG", exif=TURNED),
        encode(drawing(), "JPEG", icc_profile=SRGB),
        encode(CLEAR, "PNG"),
        encode(drawing(mode="LA"), "PNG"),
        encode(drawing(mode="P"), "PNG"),
        encode(CLEAR, "WEBP"),
        encode(drawing(), "WEBP"),
        encode(drawing(), "PNG", transparency=(250, 240, 20)),
        encode(drawing(mode="CMYK"), "JPEG"),
        encode(drawing(), "WEBP", **ANIMATED),
        encode(drawing(), "PNG", **ANIMATED),
        encode(drawing(), "MPO", **ANIMATED),
        encode(drawing(), "GIF"),
        encode(drawing(), "BMP"),
        encode(drawing(), "TIFF"),
        encode(drawing(), "AVIF"),
        encode(drawing(), "JPEG")[:-2],
        encode(drawing(), "JPEG") + ARCHIVE,
        encode(drawing(), "JPEG") * 2,
        encode(drawing(), "PNG") + ARCHIVE,
        encode(drawing(), "PNG")[:-12],
    ],
    ids=range(22),
)
async def test_any_other_file_is_not(pool: DecoderPool, data: bytes) -> None:
    image = (await pool.decode(data, LIMIT, ANY_SIZE, wanted=Wanted.FILE)).image
    assert image.encoded is None
    assert len(image.pixels) == 3 * image.width * image.height
    assert plain_size(data, sniff(data)) is None


async def test_a_file_of_an_image_that_was_reduced_is_not(pool: DecoderPool) -> None:
    data = encode(photograph(400, 300), "JPEG")
    for budget in (PixelBudget(10_000), PixelBudget(LIMIT, shortest_edge=100)):
        image = (await pool.decode(data, LIMIT, budget, wanted=Wanted.FILE)).image
        assert image.encoded is None
        assert image.pixels
