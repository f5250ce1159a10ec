"""The console for everybody: keyboard, screen readers, small screens, both colour schemes."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.console.conftest import OpenConsole
from tests.console.driver import Console
from tests.console.stand_in import CONSOLE, StandIn, answer, refusal

in_browser = pytest.mark.asyncio(loop_scope="session")

LONG = "unbreakable" * 40

# Every visible text with the contrast to its ground: text nodes and placeholders, colours blended
# over all grounds below them.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(rgba(getComputedStyle(at).backgroundColor));
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (colour) => {
    const [red, green, blue] = colour.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const found = [];
  const measure = (element, text, colour) => {
    const below = ground(element);
    const [a, b] = [light(over(rgba(colour), below)), light(below)].sort((x, y) => y - x);
    found.push([text.slice(0, 40), (a + 0.05) / (b + 0.05)]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (text === "" || !element.checkVisibility() || element.closest(".unseen, script")) continue;
    measure(element, text, getComputedStyle(element).color);
  }
  for (const field of document.querySelectorAll("[placeholder]")) {
    if (field.checkVisibility()) {
      measure(field, field.placeholder, getComputedStyle(field, "::placeholder").color);
    }
  }
  return found;
}"""

# What takes the focus, what it is called, and whether one sees that it has it.
FOCUS = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  return {
    id: element.id || element.textContent.trim(),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
  };
}"""


async def exchange(console: Console, stand_in: StandIn) -> None:
    """Bring every part of the page to light: an answer, an error, the history."""
    console.expected = ("Failed to load resource",)
    stand_in.reply = answer(f"A red mug. {LONG}")
    await console.use_sample()
    await console.ask(f"What is this? {LONG}")
    await console.ended()
    await console.page.click("#remove")
    await console.give_address(f"https://shop.example/{LONG}.jpg")
    stand_in.reply = refusal(400, "url_blocked", f"Not there. {LONG}", param=LONG)
    await console.ask("What is this?")
    await console.page.wait_for_selector("#failure:visible")


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_contrast(stand_in: StandIn, open_console: OpenConsole, scheme: str) -> None:
    console = await open_console(stand_in.url, color_scheme=scheme, reduced_motion="reduce")
    texts = await console.page.evaluate(CONTRASTS)
    await console.page.click("#ask")  # the problem below the picture
    await console.page.click("#key-menu summary")
    texts += await console.page.evaluate(CONTRASTS)
    await console.page.keyboard.press("Escape")
    await exchange(console, stand_in)
    texts += await console.page.evaluate(CONTRASTS)
    await console.page.click("#history-list li:last-child button")
    texts += await console.page.evaluate(CONTRASTS)
    assert len(texts) > 150
    assert [(text, ratio) for text, ratio in texts if ratio < 4.5] == []


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_nothing_sticks_out(stand_in: StandIn, open_console: OpenConsole, width: int) -> None:
    console = await open_console(stand_in.url, viewport={"width": width, "height": 740})
    sizes = "[document.documentElement.scrollWidth, window.innerWidth]"
    assert await console.page.evaluate(sizes) == [width, width]
    await exchange(console, stand_in)
    assert await console.page.evaluate(sizes) == [width, width]
    await console.page.click("#history-list li:last-child button")
    await console.page.click("#key-menu summary")
    assert await console.page.evaluate(sizes) == [width, width]
    panel = await console.page.locator("#key-form").bounding_box()
    assert panel is not None
    assert panel["x"] >= 0


@in_browser
async def test_on_a_phone_the_answer_comes_into_view(
    stand_in: StandIn, open_console: OpenConsole
) -> None:
    console = await open_console(
        stand_in.url, viewport={"width": 360, "height": 640}, reduced_motion="reduce"
    )
    await console.use_sample()
    await console.ask("What is this?")
    await console.ended()
    top = await console.page.evaluate("document.querySelector('#text').getBoundingClientRect().top")
    assert 0 <= top < 640


@in_browser
async def test_the_whole_job_with_the_keyboard_alone(console: Console, stand_in: StandIn) -> None:
    go_on = asyncio.Event()
    stand_in.reply = answer("A red ", go_on, "mug.")
    press = console.page.keyboard.press

    async def tab_to(name: str) -> None:
        for _ in range(40):
            await press("Tab")
            focus = await console.page.evaluate(FOCUS)
            assert focus["ring"], focus
            if focus["id"] == name:
                return
        pytest.fail(f"Tab does not reach {name}.")

    await tab_to("theme")
    await tab_to("drop")
    await tab_to("sample")
    await press("Enter")
    await console.until_text("#picture-facts", "320")
    assert await console.focused() == "ask"
    await press("Shift+Tab")
    await press("Enter")
    assert "Answer as JSON" in await console.page.input_value("#question")
    assert await console.focused() == "question"
    await press("Control+Enter")
    await console.until_text("#text", "A red")
    await tab_to("stop")
    await tab_to("copy-answer")
    go_on.set()
    await console.ended()
    await tab_to("copy-id")
    await press("Tab")
    await press("Enter")
    assert await console.page.evaluate("document.activeElement.ariaCurrent") == "true"


@in_browser
async def test_everything_has_a_name_and_a_place(console: Console, stand_in: StandIn) -> None:
    await exchange(console, stand_in)
    await console.page.click("#key-menu summary")
    session = await console.page.context.new_cdp_session(console.page)
    tree = await session.send("Accessibility.getFullAXTree")
    nodes = [node for node in tree["nodes"] if not node.get("ignored")]

    def value(node: dict[str, Any], key: str) -> str:
        return str(node.get(key, {}).get("value", ""))

    roles = {"button", "textbox", "DisclosureTriangle", "region", "group", "list"}
    named = [(value(node, "role"), value(node, "name")) for node in nodes]
    labelled = {"button", "textbox", "DisclosureTriangle", "image", "region"}
    assert [pair for pair in named if pair[0] in labelled and not pair[1]] == []
    assert {"banner", "main", *roles} <= {role for role, _ in named}
    regions = {name for role, name in named if role == "region"}
    assert {"Ask about a picture", "Answer", "This session"} <= regions


@in_browser
async def test_a_screen_reader_hears_the_answer_once(console: Console, stand_in: StandIn) -> None:
    stand_in.reply = answer(
        *[part for word in ["A", "red", "striped", "mug", "."] for part in (word, 0.02)]
    )
    await console.use_sample()
    await console.page.evaluate(
        """() => {
          window.heard = [];
          const hear = (changes) => changes.forEach(({ target }) => {
            if (target.textContent !== "") window.heard.push(target.textContent);
          });
          const observer = new MutationObserver(hear);
          document.querySelectorAll("[role=status], [role=alert], [aria-live]").forEach(
            (region) => observer.observe(region, { childList: true }));
        }"""
    )
    await console.ask("What is this?")
    await console.ended()
    heard = await console.page.evaluate("window.heard")
    assert heard[0] == "Sending the request."
    assert len(heard) == 2
    assert re.match(
        r"Answer: Aredstripedmug\. Took .* decode 3\.1 ms, .* generate 200 ms", heard[1]
    )


@pytest.mark.slow
@in_browser
async def test_the_theme_follows_the_system_until_it_is_chosen(
    stand_in: StandIn, open_console: OpenConsole
) -> None:
    console = await open_console(stand_in.url, color_scheme="light")
    page = console.page

    async def dark() -> bool:
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        shown = sum(int(part) for part in re.findall(r"\d+", colour)) < 3 * 128
        toggle = expect(page.locator("#theme"))
        await toggle.to_have_attribute("aria-pressed", str(shown).lower())
        return shown

    assert not await dark()
    await page.emulate_media(color_scheme="dark")
    assert await dark()
    await page.emulate_media(color_scheme="light")
    await page.click("#theme")
    assert await dark()
    await page.reload()
    assert await dark()
    await page.click("#theme")
    assert not await dark()
    await page.emulate_media(color_scheme="dark")
    assert await dark()


@pytest.mark.slow
@in_browser
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
async def test_motion_is_left_out_on_request(
    stand_in: StandIn, open_console: OpenConsole, motion: str
) -> None:
    console = await open_console(stand_in.url, reduced_motion=motion)
    go_on = asyncio.Event()
    stand_in.reply = answer("A red ", go_on)
    await console.use_sample()
    await console.ask("What is this?")
    await console.until_text("#text", "A red")
    endless = await console.page.evaluate(
        "document.getAnimations().filter((a) => a.effect.getTiming().iterations > 1).length"
    )
    assert (endless > 0) == (motion == "no-preference")
    go_on.set()
    await console.ended()


def test_the_files_keep_to_a_strict_policy() -> None:
    """No inline script or style, nothing from elsewhere, and text is only ever text."""
    files = {path.name: path.read_text() for path in CONSOLE.iterdir() if path.suffix != ".jpg"}
    for page in (files["index.html"], files["admin.html"]):
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert all(re.search(r"\ssrc=", tag) for tag in re.findall(r"<script[^>]*>", page))
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    for name, text in files.items():
        assert not re.search(markup, text), name
        links = set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", text))
        known = {"http://www.w3.org", "https://html.spec.whatwg.org", "https://example.com"}
        assert links <= known | ({"https://github.com"} if name == "uplot.min.js" else set())
        assert text.count("\n") < 300, name
