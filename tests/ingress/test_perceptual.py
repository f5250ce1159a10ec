"""Pictures that look alike have digests that differ in few bits, others in many."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.ingress.decode import DecoderPool
from silkline.ingress.perceptual import EDGE, look_of
from tests.ingress.pictures import encode

on_one_loop = pytest.mark.asyncio(loop_scope="module")

PRODUCTS = {
    path.stem: path.read_bytes()
    for path in sorted((Path(__file__).parents[2] / "examples" / "pictures").glob("*.jpg"))
}
BUDGET = PixelBudget(shortest_edge=224)
ALIKE = 6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    async with DecoderPool(DecodeSettings(decode_processes=1)) as pool:
        yield pool


async def perceptual(pool: DecoderPool, data: bytes, budget: PixelBudget = BUDGET) -> int:
    found = (await pool.decode(data, 50_000_000, budget)).identity.perceptual
    assert found is not None
    return found


def opened(name: str) -> Image.Image:
    return Image.open(io.BytesIO(PRODUCTS[name])).convert("RGB")


def apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


@pytest.mark.parametrize("product", PRODUCTS)
@on_one_loop
async def test_copies_are_alike(pool: DecoderPool, product: str) -> None:
    first = await perceptual(pool, PRODUCTS[product])
    picture = opened(product)
    width, height = picture.size
    copies = {
        "saved anew": encode(picture, "JPEG", quality=50),
        "as WebP": encode(picture, "WEBP", quality=70),
        "as PNG": encode(picture, "PNG"),
        "half as large": encode(picture.resize((width // 2, height // 2)), "JPEG", quality=80),
        "twice as large": encode(picture.resize((width * 2, height * 2)), "JPEG", quality=80),
    }
    for name, data in copies.items():
        assert apart(first, await perceptual(pool, data)) <= ALIKE, name
    assert apart(first, await perceptual(pool, PRODUCTS[product], PixelBudget())) <= ALIKE


@on_one_loop
async def test_products_are_not_alike(pool: DecoderPool) -> None:
    digests = [await perceptual(pool, data) for data in PRODUCTS.values()]
    assert len(PRODUCTS) >= 8
    pairs = [apart(one, other) for at, one in enumerate(digests) for other in digests[:at]]
    assert min(pairs) > ALIKE


@pytest.mark.parametrize("product", ["red-mug", "green-sofa", "orange-backpack"])
@on_one_loop
async def test_the_same_in_another_colour_is_not_alike(pool: DecoderPool, product: str) -> None:
    red, green, blue = opened(product).split()
    other = Image.merge("RGB", (blue, red, green))
    digests = [await perceptual(pool, encode(each, "PNG")) for each in (opened(product), other)]
    assert apart(*digests) > ALIKE


@on_one_loop
async def test_plain_pictures_differ_by_their_colour_only(pool: DecoderPool) -> None:
    def plain(colour: str) -> bytes:
        return encode(Image.new("RGB", (64, 64), colour), "PNG")

    assert await perceptual(pool, plain("#777777")) == await perceptual(pool, plain("#999999"))
    assert apart(await perceptual(pool, plain("red")), await perceptual(pool, plain("blue"))) > 6


@given(st.binary(min_size=EDGE * EDGE * 3, max_size=EDGE * EDGE * 3))
def test_it_has_64_bits(ycbcr: bytes) -> None:
    look = look_of(ycbcr)
    assert 0 <= look.perceptual < 2**64
    assert 0 <= look.brightness <= 255
