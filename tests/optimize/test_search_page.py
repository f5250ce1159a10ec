"""The report of a search: what it shows, over hostile texts, and in Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from playwright.async_api import async_playwright

from silkline.models.gate import Verdict
from silkline.optimize.report.search_page import search_page
from silkline.optimize.search.plan import Confirmed, Effect, Searched
from silkline.optimize.search.trial import BASELINE, Trial
from tests.console.conftest import BROWSER_FLAGS, BROWSER_NAMES
from tests.optimize.test_page import gated
from tests.report.test_page import HOSTILE, TEXTS, Parsed, safe


def searched(text: str) -> Searched:
    """What a search found, in which every text is this one."""
    measured: dict[str, Any] = {
        "items": 24,
        "seconds": 0.5,
        "throughput": 8.0,
        "size": 2**22,
        "memory": 2**28,
    }
    found, _ = gated(text)
    layers = [
        {"layer": f"{text}{index}", "divergence": 0.1 / (index + 1), "kept": index == 1}
        for index in range(5)
    ]
    trials = [
        Trial(names=BASELINE, score=0.9, **measured),
        Trial(
            names=(text, f"{text}-text"), speed=1.5, low=1.2, high=1.9, score=0.875, drop=0.025,
            **measured | {"size": 2**20},
        ),
        Trial(names=(text,), speed=1.2, low=0.9, high=1.4, drop=0.01, **measured),
        Trial(names=(f"{text}-text",), speed=1.1, low=0.9, high=1.3, drop=0.02, **measured),
        Trial(names=(f"{text} 2",), problem=text),
    ]  # fmt: skip
    return Searched(
        baseline=text, engine=text, dataset=text, digest=text, seed=0, calibrating=8, selecting=40,
        confirming=48, requirements=[text], seconds=300.0, budget=900.0, trials=trials,
        frontier=[BASELINE, trials[1].names], effects=[Effect(text, helps=True, about=text)],
        confirmed=[Confirmed(trials[1].names, Verdict.PASSED, 1.375, text)],
        picked=trials[1].names, bundle=text,
        findings={text: {"sensitivity": layers, "images seen": 8}}, gated=found, command=text,
    )  # fmt: skip


def page(text: str) -> str:
    return search_page(searched(text), gated(text)[1])


@settings(deadline=None, max_examples=15)
@given(text=TEXTS)
@example(HOSTILE)
def test_no_text_breaks_out_of_the_page(text: str) -> None:
    parsed = safe(page(text))
    usual = {one.name for one in safe(page("a b")).elements}
    assert {one.name for one in parsed.elements} <= usual | {"ins", "del", "mark", "details"}


def rows(parsed: Parsed) -> str:
    return " ".join(parsed.text.split())


def test_the_page_says_what_was_picked_and_why() -> None:
    text = rows(safe(page("awq")))
    assert "Picked awq + awq-text, 1.38 times the baseline's throughput" in text
    assert "size of the weights4.0 MiB1.0 MiB0.25x" in text
    assert "main metric, on the items that pick90.0%87.5%\N{MINUS SIGN}2.5" in text
    assert "awq\N{MINUS SIGN}2.0\N{MINUS SIGN}1.0" in text  # text only, then with images
    assert "kept in 8 bits" in text
    assert "Speed against quality" in text
    assert "silkline up awq" in text


def test_a_page_of_a_search_that_found_nothing() -> None:
    found = msgspec.structs.replace(
        searched("plain"), picked=None, bundle="", gated=None, confirmed=[], findings={}
    )
    text = rows(safe(search_page(found, ())))
    assert "Nothing that was tried is faster here and keeps the quality" in text
    assert "silkline up" not in text
    assert "Before and after" not in text


@pytest.mark.slow
async def test_the_page_in_a_browser(tmp_path: Path) -> None:
    browsers = [path for name in BROWSER_NAMES if (path := shutil.which(name))]
    if not browsers:
        pytest.fail("No Chromium on PATH. Run: apt-get update && apt-get install -y chromium")
    written = tmp_path / "report.html"
    asked: list[str] = []
    written.write_text(page("plain"), encoding="utf-8")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=browsers[0], args=list(BROWSER_FLAGS)
        )
        tab = await browser.new_page(viewport={"width": 420, "height": 800})
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: asked.append(str(error)))
        await tab.goto(written.as_uri())
        assert await tab.evaluate("document.documentElement.scrollWidth") == 420
        frontier = tab.locator("figure:has(script)").first
        drawing = frontier.locator("svg")
        await drawing.focus()
        await drawing.press("End")
        tip = await frontier.locator(".tip").inner_text()
        assert "1: plain + plain-text" in tip
        assert "1.50x" in tip
        await browser.close()
    assert asked == [written.as_uri()]
