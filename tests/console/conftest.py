"""One browser for all console tests, and one server and one page for each.

A test against the real gateway starts it in a fixture of its own and calls `open_console` with its
URL; everything in `Console` works the same there.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.console.driver import Console
from tests.console.stand_in import StandIn, running_stand_in, sample_jpeg

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

OpenConsole = Callable[..., Awaitable[Console]]
"""`open_console(url, wait=True, **context)`; `context` are Playwright's for a browser context."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window, with a fresh profile that is deleted at the end."""
    found = [path for name in BROWSER_NAMES if (path := shutil.which(name))]
    if not found:
        pytest.fail("No Chromium on PATH. Run: apt-get update && apt-get install -y chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found[0], args=list(BROWSER_FLAGS)
        )
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def stand_in() -> AsyncIterator[StandIn]:
    async with running_stand_in() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def window(browser: Browser) -> BrowserContext:
    """The window that consoles without options share, since a fresh one takes its time.

    Each test has a server and so an origin of its own: they see nothing of each other's storage.
    """
    return await browser.new_context(reduced_motion="reduce")


@pytest_asyncio.fixture(loop_scope="session")
async def open_console(browser: Browser, window: BrowserContext) -> AsyncIterator[OpenConsole]:
    """Opens the console of any server, in a window of its own where it is given options.

    When the test is over, each page is closed, and checked: no error in the browser's console
    that the test did not expect, no broken content security policy, no request to another host.
    """
    opened: list[Console] = []

    async def open_at(url: str, *, wait: bool = True, **options: Any) -> Console:
        # Without motion a click needs no wait until things stand still.
        still = {"reduced_motion": "reduce", **options}
        context = await browser.new_context(**still) if options else window
        console = Console(await context.new_page(), url)
        opened.append(console)
        await console.open(wait=wait)
        return console

    yield open_at
    for console in opened:
        context = console.page.context
        await (console.page.close() if context is window else context.close())
    for console in opened:
        console.check()


@pytest_asyncio.fixture(loop_scope="session")
async def console(stand_in: StandIn, open_console: OpenConsole) -> Console:
    """The console of the stand-in, opened and ready."""
    return await open_console(stand_in.url)


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG whose name needs care in a shell."""
    path = tmp_path_factory.mktemp("pictures") / "red mug's $HOME.jpg"
    path.write_bytes(sample_jpeg())
    return path
