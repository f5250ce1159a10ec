"""The operators' pages for everybody: axe, keyboard, small screens, both colour schemes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.console.conftest import OpenConsole
from tests.console.operating import Operated, operated

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = (
    "overview",
    "requests",
    "models",
    "playground",
    "tenants",
    "cache",
    "experiments",
    "drift",
    "settings",
    "alerts",
)
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("access")) as running:
        for number in range(3):
            running.ask(f"Question {number}")
        yield running


async def opened(gateway: Operated, open_console: OpenConsole, **options: Any) -> Page:
    console = await open_console(gateway.url, wait=False, **gateway.signed_in, **options)
    await console.page.goto(f"{gateway.url}admin.html")
    await console.until_text("#status", "Live")
    return console.page


async def each_page(gateway: Operated, page: Page) -> AsyncIterator[str]:
    """Shows every page in turn, and a request with its content."""
    newest = gateway.ask("Newest").headers["x-request-id"]
    for name in (*PAGES, f"requests/{newest}"):
        await page.goto(f"{gateway.url}admin.html#{name}")
        await expect(page.locator("#content h1")).to_be_visible()
        loaded = {
            "overview": ".plot canvas",
            "requests": "#found tbody tr",
            "models": ".badges",
            "playground": "#play-left option",
            "tenants": "tbody tr",
            "cache": "tbody tr",
            "experiments": ".experiment tbody tr",
            "drift": "#content .note",
            "settings": "tbody tr",
            "alerts": "#content .note",
        }.get(name, "#retained img")
        await expect(page.locator(loaded).first).to_be_attached()
        yield name


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
async def test_axe_finds_nothing_serious(
    gateway: Operated, open_console: OpenConsole, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    page = await opened(gateway, open_console, color_scheme=scheme, viewport=size)
    found: dict[str, Any] = {}

    async def look(name: str) -> None:
        violations = (await Axe().run(page)).response["violations"]
        found.update(
            {
                f"{name}: {one['id']}": [node["html"] for node in one["nodes"]][:3]
                for one in violations
                if one["impact"] in SERIOUS
            }
        )

    async for name in each_page(gateway, page):
        await look(name)
        sizes = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert sizes == [width, width], name
    await page.click("#key-menu summary")
    await look("key menu")
    await page.goto(gateway.url)
    await look("ask")
    assert found == {}


async def test_the_pages_are_reached_by_keyboard_and_announced(
    gateway: Operated, open_console: OpenConsole
) -> None:
    page = await opened(gateway, open_console)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "page"
    assert (await page.title()).startswith("Overview")
    await page.focus("#tabs a[href='#requests']")
    await page.keyboard.press("Enter")
    await expect(page.locator("#content h1")).to_have_text("Requests")
    await expect(page.locator("#page")).to_be_focused()
    assert (await page.title()).startswith("Requests")
    await expect(page.locator("#announce")).to_contain_text("request")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.id") == "filter-id"
    await page.go_back()
    await expect(page.locator("#content h1")).to_have_text("Overview")


@pytest.mark.slow
async def test_a_table_that_is_scrolled_by_keyboard_keeps_the_focus(
    gateway: Operated, open_console: OpenConsole
) -> None:
    page = await opened(gateway, open_console, viewport={"width": 360, "height": 740})
    replicas = page.get_by_role("region", name="Replicas")
    await replicas.focus()
    await page.keyboard.press("ArrowRight")
    await page.wait_for_timeout(2500)  # at least two more snapshots
    assert await page.evaluate("document.activeElement.getAttribute('aria-label')") == "Replicas"
    assert await replicas.evaluate("box => box.scrollLeft") > 0
