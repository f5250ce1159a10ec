"""Decoded pictures of all requests are held to a bound as long as their requests last."""

import asyncio
from contextlib import ExitStack

import pytest

from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import PixelBudget
from silkline.errors import Overloaded
from silkline.ingress.intake import Intake
from silkline.ingress.source import uploaded
from silkline.ingress.wanted import Wanted
from tests.ingress.intakes import at, coloured, serving, until
from tests.ingress.network import Hit, gives
from tests.ingress.pictures import chunk, drawing, encode, photograph
from tests.pictures import encoded

MIB = 1024 * 1024
LIMITS = LimitSettings(max_inflight_bytes=MIB, max_image_pixels=200_000, max_request_pixels=200_000)


async def test_who_waits_for_room_keeps_none_from_the_oldest() -> None:
    """Only the oldest may take the last room, so what it needs for that must not be held."""
    asked = asyncio.Event()

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        if "slow" in hit.line:
            await asked.wait()
        await gives(coloured(7, 300, 200) + bytes(MIB // 2))(hit, writer)

    async with serving(
        fetch={"fetch_timeout": 4.0},
        respond=respond,
        max_image_bytes=2 * MIB // 3,
        max_inflight_bytes=MIB,
        max_image_pixels=200_000,
        max_request_pixels=200_000,
    ) as (intake, origin):

        async def take(path: str, stack: ExitStack) -> None:
            held = stack.enter_context(intake.holding(b""))
            await intake.take([at(origin, path)], PixelBudget(), b"", held)

        with ExitStack() as holding:
            slow = ExitStack()
            oldest = asyncio.create_task(take("/slow", slow))
            await until(lambda: len(origin.hits) == 1)
            await take("/1", holding)
            await take("/2", holding)
            late = asyncio.create_task(take("/3", holding))  # the rest is kept for the oldest
            await until(lambda: len(origin.hits) == 4)
            await asyncio.sleep(0.3)  # it is decoded
            asked.set()
            await oldest
            slow.close()
            await late


async def test_requests_that_hold_pictures_leave_others_no_room() -> None:
    async with Intake(LIMITS, FetchSettings(fetch_timeout=0.2), DecodeSettings()) as intake:
        source = uploaded(encoded(300, 200), param="")  # 180,000 bytes of pixels

        async def take(stack: ExitStack, requests: int = 1) -> None:
            for _ in range(requests):
                held = stack.enter_context(intake.holding(b""))
                await intake.take([source], PixelBudget(), b"", held)

        with ExitStack() as holding:
            with ExitStack() as first:
                await take(first)
                await take(holding, 2)
                with pytest.raises(Overloaded, match="no memory left for this request"):
                    await take(holding, 4)
            await take(holding)


@pytest.mark.parametrize("wanted", Wanted)
async def test_a_kept_file_counts_like_pixels(wanted: Wanted) -> None:
    data = encode(photograph(300, 200), "PNG")
    settings = (LIMITS, FetchSettings(), DecodeSettings())
    async with Intake(*settings, keeps_both=True) as intake:
        with intake.holding(b"") as held:
            taken = await intake.take([uploaded(data, param="")], PixelBudget(), b"", held, wanted)
            image = taken.images[0]
            assert (image.encoded is not None) is wanted.has_file
            assert bool(image.pixels) is wanted.has_pixels
            pixels = 300 * 200 * 3 if wanted.has_pixels else 0
            assert held.held == pixels + (len(data) if wanted.has_file else 0)


@pytest.mark.parametrize("wanted", Wanted)
async def test_a_file_larger_than_its_pixels_is_not_kept(wanted: Wanted) -> None:
    plain = encode(drawing(), "PNG")
    data = plain[:33] + chunk(b"prVt", bytes(MIB // 2)) + plain[33:]  # after the header
    async with Intake(LIMITS, FetchSettings(), DecodeSettings()) as intake:
        with intake.holding(b"") as held:
            taken = await intake.take([uploaded(data, param="")], PixelBudget(), b"", held, wanted)
            assert taken.images[0].encoded is None
            assert held.held == len(taken.images[0].pixels)
