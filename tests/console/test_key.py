"""The console on a gateway that asks for keys, as a person meets it in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from silkline.gateway.keys import new_key
from tests.console.conftest import OpenConsole
from tests.console.driver import UNKNOWN
from tests.gateway.keyrings import Keys, write_keys
from tests.origin import Origin
from tests.serving import Served, served

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def guarded(keys: Keys) -> Iterator[Served]:
    with served("--engine", "fake", "--keys-file", str(keys.file)) as server:
        yield server


def signed_in(key: str) -> dict[str, dict[str, str]]:
    """What a person types where the browser asks for a password."""
    return {"http_credentials": {"username": "me", "password": key}}


async def test_the_key_as_the_browsers_password(
    guarded: Served, keys: Keys, open_console: OpenConsole, picture: Path
) -> None:
    console = await open_console(f"{guarded.url}/", **signed_in(keys.shop))
    await console.until_text("#status", "Ready")
    await console.choose(picture)
    await console.ask("What is this?")
    await console.page.wait_for_selector("#result:visible")
    await console.ended()
    assert await console.page.is_hidden("#failure")
    assert await console.text("#text") != ""
    assert await console.text("#model") != UNKNOWN


@pytest.mark.slow
async def test_a_key_in_the_page_goes_before_the_password(
    guarded: Served, keys: Keys, open_console: OpenConsole
) -> None:
    console = await open_console(f"{guarded.url}/", **signed_in(keys.shop))
    console.expected = ("Failed to load resource",)
    await console.page.click("#key-menu summary")
    await console.page.fill("#key", new_key())
    await console.page.press("#key", "Enter")
    await console.use_sample()
    await console.ask("What is this?")
    await console.until_text("#failure-code", "invalid_api_key")
    await console.page.fill("#key", keys.shop)
    await console.page.press("#key", "Enter")
    await console.ask("What is this?")
    await console.page.wait_for_selector("#result:visible")
    await console.ended()
    assert await console.page.is_hidden("#failure")


async def test_without_the_key_nothing_is_shown(guarded: Served, open_console: OpenConsole) -> None:
    console = await open_console(f"{guarded.url}/", wait=False, **signed_in(new_key()))
    console.expected = ("Failed to load resource",)
    assert "invalid_api_key" in await console.text("body")
    assert await console.page.locator("script").count() == 0


async def test_a_page_of_another_site_cannot_use_the_password(
    guarded: Served, keys: Keys, open_console: OpenConsole
) -> None:
    console = await open_console(f"{guarded.url}/", **signed_in(keys.shop))
    console.expected = ("Failed to load resource",)
    ask = """async (url) => {
      const body = new FormData();
      body.append("prompt", "x");
      const reply = await fetch(url, {
        method: "POST", body, mode: "no-cors", credentials: "include" });
      return reply.type;
    }"""
    with Origin() as origin:
        page = origin.put("/page", b"<!doctype html><p>Another site", kind="text/html")
        await console.page.goto(page.replace("127.0.0.1", "localhost"))
        before = len(guarded.events("request"))
        assert await console.page.evaluate(ask, f"{guarded.url}/predict") == "opaque"
    console.foreign.clear()

    def refused() -> list[object]:
        return [
            event["error.code"]
            for event in guarded.events("request")[before:]
            if event["http.request.method"] == "POST"
        ]

    async with asyncio.timeout(10):
        while not refused():
            await console.page.wait_for_timeout(50)  # the line is written after the answer
    # Chromium keeps the password for its own site; from a browser that sends it, it is not taken.
    assert refused() in (["invalid_api_key"], ["forbidden"])
