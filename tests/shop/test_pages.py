"""The shop in a real browser."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from examples.shop.tables import State
from silkline.catalog.description import Style
from tests.shop.stand_in import MUG, Shop

HANG_MS = 30_000
"""No step takes long; this bounds a hang."""

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


def ignore(_done: int) -> None:
    pass


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page; fails on errors in the browser's console, which include a broken security policy."""
    problems: list[str] = []
    context = await browser.new_context(reduced_motion="reduce")
    opened = await context.new_page()
    opened.set_default_timeout(HANG_MS)
    expect.set_options(timeout=HANG_MS)
    opened.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    await context.close()
    assert problems == []


async def opened(shop: Shop, page: Page, path: str) -> None:
    shop.describer.describe_all(shop.tables.ids(), ignore)
    await page.goto(f"{shop.url}{path}")


async def test_a_customer_sees_published_descriptions_only(shop: Shop, page: Page) -> None:
    shop.put("a-mug")
    shop.put("b-mug", colour="blue")
    await opened(shop, page, "/")
    await expect(page.locator(".tile").first).to_contain_text("Red striped mug")
    await expect(page.locator(".tile").nth(1)).to_contain_text("Description in preparation")
    await page.click(".tile >> nth=0")
    await expect(page.locator("h1")).to_have_text("Red striped mug")
    await expect(page.locator(".photo")).to_have_attribute("alt", "Red striped mug")
    await expect(page.locator(".price")).to_have_text("USD 39")
    await page.click("text=中文")
    await expect(page.locator("h1")).to_have_text("红色条纹马克杯")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


async def test_the_image_is_right_and_the_table_changes(shop: Shop, page: Page) -> None:
    shop.put("mug", colour="blue")
    await opened(shop, page, "/editor")
    await expect(page.locator(".item")).to_have_count(2)
    await page.click(".item:first-of-type >> text=The image is right")
    await expect(page.locator(".done")).to_contain_text("The image was right")
    await expect(page.locator(".item")).to_have_count(0)
    changed = shop.tables.product("mug")
    assert changed
    assert changed.attributes["colour"] == "red"
    assert shop.tables.counts()["published"] == 2
    assert shop.model.feedback == [{"request_id": "request-1", "accepted": True}]


async def test_the_table_is_right_and_stays_so(shop: Shop, page: Page) -> None:
    shop.put("mug", seen=MUG | {"label": "$12"}, price="39")
    await opened(shop, page, "/editor")
    await expect(page.locator(".findings").first).to_contain_text("39 USD")
    await page.keyboard.press("j")
    await page.keyboard.press("t")
    await expect(page.locator(".done")).to_contain_text("The table was right")
    assert shop.tables.counts()["published"] == 2
    shop.put("mug", seen=MUG | {"label": "$12"}, price="39")  # the row is written again
    assert [one["accepted"] for one in shop.model.feedback] == [False]


async def test_a_corrected_text_is_checked_too(shop: Shop, page: Page) -> None:
    shop.model.has_experiment = False
    shop.put("mug", pattern="plain")
    await opened(shop, page, "/editor")
    await page.click(".item:nth-of-type(2) >> text=Correct the text")
    await page.fill(".item:nth-of-type(2) [name=title]", "马克杯，只要199元")
    await page.click(".item:nth-of-type(2) >> text=Publish my text")
    await expect(page.locator(".done")).to_contain_text("Not published")
    await expect(page.locator(".item:nth-of-type(2) q")).to_have_text("199元")
    await page.click(".item:nth-of-type(2) >> text=Correct the text")
    await page.fill(".item:nth-of-type(2) [name=title]", "红色马克杯")
    await page.click(".item:nth-of-type(2) >> text=Publish my text")
    await expect(page.locator(".done")).to_contain_text("Published with your text")
    await expect(page.locator(".item")).to_have_count(1)
    assert [one["accepted"] for one in shop.model.feedback] == [False, False]


async def test_a_text_that_a_person_wrote_is_not_replaced_unseen(shop: Shop, page: Page) -> None:
    shop.put("mug", colour="blue")
    await opened(shop, page, "/editor")
    await page.click(".item:first-of-type >> text=Correct the text")
    await page.fill(".item:first-of-type [name=title]", "Mug")
    await page.click(".item:first-of-type >> text=Publish my text")
    await expect(page.locator(".done")).to_contain_text("Published with your text")
    shop.put("mug")
    await opened(shop, page, "/editor")
    await expect(page.locator(".item")).to_contain_text("A person wrote the text before")
    await page.keyboard.press("a")
    await expect(page.locator(".empty")).to_be_visible()
    kept = shop.tables.description("mug", Style())
    assert kept
    assert kept.state is State.PUBLISHED
    assert kept.description.title == "Red striped mug"
    assert [one["accepted"] for one in shop.model.feedback] == [False, True]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_pages_are_accessible_in_both_themes(shop: Shop, page: Page, theme: str) -> None:
    shop.put("a-mug")
    shop.put("b-mug", colour="blue")
    for path in ("/products/a-mug?lang=zh", "/editor") if theme == "dark" else ("/", "/editor"):
        await opened(shop, page, path)
        if await page.get_attribute("#theme", "aria-pressed") != str(theme == "dark").lower():
            await page.click("#theme")
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
