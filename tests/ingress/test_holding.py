"""Decoded pictures of all requests are held to a bound as long as their requests last."""

from contextlib import ExitStack

import pytest

from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.engines.base import PixelBudget
from silkline.errors import Overloaded
from silkline.ingress.intake import Intake
from silkline.ingress.source import uploaded
from tests.pictures import encoded

MIB = 1024 * 1024
LIMITS = LimitSettings(max_inflight_bytes=MIB, max_image_pixels=200_000, max_request_pixels=200_000)


async def test_requests_that_hold_pictures_leave_others_no_room() -> None:
    async with Intake(LIMITS, FetchSettings(fetch_timeout=0.2), DecodeSettings()) as intake:
        source = uploaded(encoded(300, 200), param="")  # 180,000 bytes of pixels

        async def take(stack: ExitStack, requests: int = 1) -> None:
            for _ in range(requests):
                held = stack.enter_context(intake.holding())
                await intake.take([source], PixelBudget(), b"", held)

        with ExitStack() as holding:
            with ExitStack() as first:
                await take(first)
                await take(holding, 2)
                with pytest.raises(Overloaded, match="as many pictures as it can"):
                    await take(holding, 4)
            await take(holding)
