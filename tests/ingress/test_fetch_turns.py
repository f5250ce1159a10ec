"""Fetches of several tenants: whoever hangs holds up nobody else."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from silkline.config import FetchSettings
from silkline.ingress import fetch as fetch_module
from silkline.ingress.fetch import Fetcher
from silkline.ingress.urls import parse
from tests.ingress.network import Hit, gives, raw_origin, within
from tests.ingress.test_fetch import BODY, CAP, fetching, silent


async def test_a_crowd_of_one_tenant_does_not_hold_up_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch_module, "_CONNECTIONS", 4)

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await gives(BODY)(hit, writer)

    async with fetching(respond) as (fetcher, origin):
        ends: list[bytes] = []

        async def one(scope: bytes) -> None:
            url = parse(f"http://origin.test:{origin.port}/a.jpg")
            await fetcher.fetch(url, CAP, within(CAP), scope)
            ends.append(scope)

        crowd = [asyncio.create_task(one(b"crowd")) for _ in range(60)]
        await asyncio.sleep(0)
        await one(b"other")
        await asyncio.gather(*crowd)
        assert ends.index(b"other") <= 12


async def test_hanging_origins_of_one_tenant_do_not_hold_up_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch_module, "_CONNECTIONS", 8)

    hanging = asyncio.Semaphore(0)

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        if "hang" in hit.line:
            hanging.release()
        await (silent if "hang" in hit.line else gives(BODY))(hit, writer)

    async with fetching(respond) as (fetcher, origin):

        async def one(scope: bytes, path: str) -> None:
            url = parse(f"http://origin.test:{origin.port}/{path}")
            await fetcher.fetch(url, CAP, within(CAP), scope)

        crowd = [asyncio.create_task(one(b"crowd", "hang")) for _ in range(40)]
        for _ in range(4):
            await hanging.acquire()
        for number in range(10):
            await asyncio.wait_for(one(bytes([number]), "fast"), 3)
        assert sum("hang" in hit.line for hit in origin.hits) == 4
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


async def test_hanging_names_of_one_tenant_do_not_hold_up_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name server that does not answer holds a thread, also when its fetch is over."""
    asked = threading.Semaphore(0)
    answered = threading.Event()

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if host.startswith("hangs"):
            asked.release()
            answered.wait(20)
            raise OSError
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with raw_origin(gives(BODY)) as origin:
        settings = FetchSettings(private_hosts=(f"origin.test:{origin.port}",))
        async with Fetcher(settings) as fetcher:

            async def one(scope: bytes, url: str) -> None:
                await fetcher.fetch(parse(url), CAP, within(CAP), scope)

            try:
                crowd = [
                    asyncio.create_task(one(b"crowd", f"http://hangs{number}.test/"))
                    for number in range(80)
                ]
                for _ in range(16):
                    await asyncio.to_thread(asked.acquire, timeout=5)
                for task in crowd[:40]:
                    task.cancel()
                await asyncio.wait_for(one(b"x", f"http://origin.test:{origin.port}/"), 3)
            finally:
                answered.set()
                for task in crowd:
                    task.cancel()
                await asyncio.gather(*crowd, return_exceptions=True)
