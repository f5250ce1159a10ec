"""Run by `test_egress` in a network namespace where every address is this machine's own.

There the metadata service of a cloud, hosts of private networks and a server on the public internet
are all real, each at port 80. The guard runs as it is.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest_asyncio

from silkline.config import FetchSettings
from silkline.errors import SilklineError, UrlBlocked
from silkline.ingress.fetch import Fetcher, SystemResolver
from silkline.ingress.urls import parse
from tests.ingress.network import (
    PUBLIC,
    Hit,
    Names,
    RawOrigin,
    gives,
    raw_origin,
    redirects,
    within,
)
from tests.ingress.pictures import drawing, encode
from tests.ingress.spellings import TARGETS, blocked_urls
from tests.serving import served

METADATA = "169.254.169.254"
SECRET = b"the secrets of the machine"
PICTURE = encode(drawing(), "PNG")
CAP = 1_000_000


@dataclass
class World:
    """Who listens: the canary at all private addresses, and a server on the public internet."""

    canary: RawOrigin
    public: RawOrigin


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        path = hit.line.split()[1]
        leads = gives(PICTURE) if path == "/picture" else redirects(f"http://{METADATA}{path}")
        await leads(hit, writer)

    async with (
        raw_origin(gives(SECRET), TARGETS, port=80) as canary,
        raw_origin(respond, PUBLIC, port=80) as public,
    ):
        for target in TARGETS:  # without the guard, they can be reached
            assert await asyncio.to_thread(plainly, f"http://{target}/") == SECRET
        canary.hits.clear()
        yield World(canary, public)


def plainly(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return bytes(response.read())


async def outcome(fetcher: Fetcher, url: str) -> type[SilklineError] | bytes:
    try:
        return (await fetcher.fetch(parse(url), CAP, within(CAP))).data
    except SilklineError as error:
        return type(error)


async def test_no_spelling_reaches_what_is_really_there(world: World) -> None:
    async with Fetcher(FetchSettings(), SystemResolver()) as fetcher:
        assert await outcome(fetcher, f"http://{PUBLIC}/picture") == PICTURE
        urls = blocked_urls(80)
        passed = [url for url in urls if await outcome(fetcher, url) is not UrlBlocked]
    assert len(urls) > 300
    assert passed == []
    assert world.canary.hits == []


async def test_no_redirect_and_no_name_leads_there(world: World) -> None:
    names = Names(
        good_example=[[PUBLIC]],
        metadata_example=[[METADATA]],
        mixed_example=[[PUBLIC, METADATA]],
        changing_example=[[PUBLIC], [METADATA]],
    )
    async with Fetcher(FetchSettings(), names) as fetcher:
        assert await outcome(fetcher, "http://good.example/picture") == PICTURE
        for url in (
            "http://good.example/latest/meta-data/",
            "http://metadata.example/",
            "http://mixed.example/picture",
        ):
            assert await outcome(fetcher, url) is UrlBlocked
        seen = [await outcome(fetcher, "http://changing.example/redirect") for _ in range(100)]
    assert set(seen) == {UrlBlocked}
    assert world.canary.hits == []
    assert len(world.public.hits) > 2


async def test_a_gateway_reaches_the_public_picture_and_nothing_else(world: World) -> None:
    with served("--engine", "fake", "--cache-ttl", "0") as running:
        good = await asyncio.to_thread(predict, running.url, f"http://{PUBLIC}/picture")
        assert good[0] == 200
        for url in (*blocked_urls(80)[::9], f"http://{PUBLIC}/latest/meta-data/"):
            status, body = await asyncio.to_thread(predict, running.url, url)
            assert (status, body["error"]["code"]) in {
                (400, "url_blocked"),
                (400, "invalid_request"),
            }, url
    assert world.canary.hits == []


def predict(gateway: str, image_url: str) -> tuple[int, dict[str, dict[str, str]]]:
    request = urllib.request.Request(
        f"{gateway}/predict",
        json.dumps({"image_url": image_url}).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
