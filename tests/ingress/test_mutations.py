"""Case 9: broken pictures of every format never crash, hang or confuse the decoder."""

import asyncio
import random
import time

import pytest

from silkline.config import DecodeSettings
from silkline.core import Image, PixelBudget
from silkline.errors import InputError
from silkline.ingress.decode import DecoderPool
from tests.ingress.pictures import drawing, encode
from tests.processes import DECODER, children

LIMIT = 5_000_000
BUDGET = PixelBudget(shortest_edge=32)
HANG_SECONDS = 5.0
SEED = 20261122


def seeds() -> list[bytes]:
    """Valid pictures, one of each way of coding."""
    return [
        encode(drawing(), "JPEG"),
        encode(drawing(), "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        encode(drawing(mode="CMYK"), "JPEG"),
        encode(drawing(), "MPO", **two_frames()),
        encode(drawing(), "PNG"),
        encode(drawing(mode="P"), "PNG", transparency=3),
        encode(drawing(mode="I;16"), "PNG"),
        encode(drawing(), "PNG", **two_frames()),
        encode(drawing(), "WEBP"),
        encode(drawing(mode="RGBA"), "WEBP", lossless=True),
        encode(drawing(), "WEBP", **two_frames()),
        encode(drawing(), "GIF", **two_frames()),
        encode(drawing(), "BMP"),
        encode(drawing(), "TIFF"),
        encode(drawing(), "TIFF", compression="tiff_lzw", **two_frames()),
        encode(drawing(), "TIFF", compression="jpeg"),
        encode(drawing(), "AVIF", speed=10),
    ]


def two_frames() -> dict[str, object]:
    return {"save_all": True, "append_images": [drawing(mode="L").convert("RGB")]}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One of the ways in which files break, or are broken."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        at = chance.randrange(len(broken))
        match chance.randrange(7):
            case 0:
                broken[at] ^= 1 << chance.randrange(8)
            case 1:
                broken[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
            case 2:
                broken[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
            case 3:
                del broken[at : at + chance.randrange(1, 64)]
            case 4:
                broken[at:at] = chance.randbytes(chance.randrange(1, 64))
            case 5:
                broken[at:at] = broken[at : at + chance.randrange(1, 256)]
            case _:
                del broken[chance.randrange(16, len(broken) + 1) :]
        if len(broken) < 16:
            break
    return bytes(broken)


async def campaign(count: int, seed: int) -> dict[str, int]:
    """Decodes mutations, two at a time; gives the outcomes by name."""
    chance = random.Random(seed)
    valid = seeds()
    outcomes: dict[str, int] = {}
    async with DecoderPool(DecodeSettings(decode_processes=2, decode_timeout=HANG_SECONDS)) as pool:
        before = children(DECODER)

        async def one(data: bytes) -> str:
            begun = time.monotonic()
            try:
                image = (await pool.decode(data, LIMIT, BUDGET)).image
            except InputError as error:
                return f"{type(error).__name__}: {error.message}"
            finally:
                assert time.monotonic() - begun < HANG_SECONDS
            return checked(image)

        for _ in range(count // 2):
            pair = [mutated(chance.choice(valid), chance) for _ in range(2)]
            for outcome in await asyncio.gather(*(one(data) for data in pair)):
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert children(DECODER) == before  # not one of them had to be replaced
    return outcomes


def checked(image: Image) -> str:
    assert len(image.pixels) == image.width * image.height * 3
    return "decoded"


def unfit(outcomes: dict[str, int]) -> list[str]:
    """Outcomes that cost a child its life or its deadline."""
    return [name for name in outcomes if "crashed its decoder" in name or "takes" in name]


@pytest.mark.slow
async def test_hundreds_of_mutations() -> None:
    outcomes = await campaign(600, SEED)
    assert outcomes["decoded"] > 50
    assert len(outcomes) > 2
    assert not unfit(outcomes)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(5))
async def test_ten_thousand_mutations(seed: int) -> None:
    outcomes = await campaign(10_000, seed)
    print(outcomes)  # noqa: T201 - the figures of the campaign
    assert not unfit(outcomes)
