"""The page in Chromium: it draws, it shows values, it asks for nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from silkline.bench.report.page import write_page
from silkline.bench.summary import compare, summarise
from tests.bench.runs import good_run
from tests.console.conftest import BROWSER_FLAGS, BROWSER_NAMES


@pytest.mark.slow
async def test_values_are_shown_to_pointer_and_keyboard(tmp_path: Path) -> None:
    found = [path for name in BROWSER_NAMES if (path := shutil.which(name))]
    if not found:
        pytest.fail("No Chromium on PATH. Run: apt-get update && apt-get install -y chromium")
    run = good_run(2)
    summaries = [summarise(run, target, 0.42) for target in (0, 1)]
    write_page(run, summaries, compare(run, 0.42), tmp_path / "report.html")
    asked: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found[0], args=list(BROWSER_FLAGS)
        )
        page = await browser.new_page(viewport={"width": 420, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: asked.append(str(error)))
        await page.goto((tmp_path / "report.html").as_uri())
        plot = page.locator("figure:has(script)").nth(1)
        picture = plot.locator("svg")
        await picture.hover(position={"x": 150, "y": 60})
        assert "P99" in await plot.locator(".tip").inner_text()
        await picture.focus()
        await picture.press("Home")
        first = await picture.get_attribute("aria-description") or ""
        assert first.startswith("0 s requests")
        await picture.press("ArrowRight")
        assert await picture.get_attribute("aria-description") != first
        assert await page.evaluate("document.documentElement.scrollWidth") == 420
        await browser.close()
    assert asked == [(tmp_path / "report.html").as_uri()]
