"""An intake beside an origin, for tests of either step."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from silkline.config import DecodeSettings, FetchSettings, LimitSettings
from silkline.core import PixelBudget
from silkline.ingress.intake import Intake
from silkline.ingress.source import Source, parse_url
from tests.ingress.network import Hit, Names, RawOrigin, Respond, gives, raw_origin
from tests.ingress.pictures import drawing, encode

BUDGET = PixelBudget(max_pixels=1024 * 1024)
PIXELS = 60 * 40
TENANT = b"one"


def coloured(value: int, width: int = 60, height: int = 40) -> bytes:
    """A PNG of one grey, 0 to 255."""
    return encode(drawing(width, height).point(lambda _: value), "PNG")


async def greys(hit: Hit, writer: asyncio.StreamWriter) -> None:
    """Answers /N or /N.png with a grey of that value; /hang never."""
    path = hit.line.split()[1]
    if path == "/hang":
        await asyncio.Event().wait()
    await gives(coloured(int(path.strip("/").partition(".")[0])))(hit, writer)


@asynccontextmanager
async def serving(
    fetch: dict[str, Any] | None = None,
    decode: dict[str, Any] | None = None,
    respond: Respond = greys,
    **limits: Any,
) -> AsyncIterator[tuple[Intake, RawOrigin]]:
    """An intake that may fetch from an origin under the name origin.test."""
    async with raw_origin(respond) as origin:
        settings = FetchSettings(private_hosts=(f"origin.test:{origin.port}",), **(fetch or {}))
        decoding = DecodeSettings(**({"decode_processes": 2} | (decode or {})))
        names = Names(origin_test=[["127.0.0.1"]])
        async with Intake(LimitSettings(**limits), settings, decoding, names) as intake:
            yield intake, origin


def at(origin: RawOrigin, path: str, param: str = "url") -> Source:
    return parse_url(f"http://origin.test:{origin.port}{path}", param=param)


def data_url(data: bytes, param: str = "url") -> Source:
    return parse_url(f"data:image/png;base64,{base64.b64encode(data).decode()}", param=param)


async def until(come: Callable[[], bool]) -> None:
    """Waits for something that must come soon."""
    async with asyncio.timeout(10):
        while not come():  # noqa: ASYNC110 - it is a count, and counts are not awaited
            await asyncio.sleep(0.01)
