"""An answer streams in, is measured, stopped, copied, kept, and never read as markup."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.console.conftest import OpenConsole
from tests.console.driver import UNKNOWN, Console
from tests.console.stand_in import MODEL_TAG, StandIn, answer, event, refusal, stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARKUP = '<img src="x" onerror="window.broken = true"><script>window.broken = true</script>'


async def test_the_answer_grows_before_it_is_whole(console: Console, stand_in: StandIn) -> None:
    go_on = asyncio.Event()
    stand_in.reply = answer("A red ", go_on, "striped mug.")
    await console.use_sample()
    await console.ask("What is this?")
    await console.until_text("#text", "A red")
    assert await console.page.get_attribute("#answer", "aria-busy") == "true"
    assert "Answering" in await console.text("#phase")
    assert await console.page.get_attribute("#ask", "aria-disabled") == "true"
    assert (await console.stages())["decode"] == "3.1 ms"
    assert "running" in await console.stages()
    assert await console.text("#first-token") != UNKNOWN
    go_on.set()
    await console.ended()
    assert await console.text("#text") == "A red striped mug."
    assert await console.page.is_hidden("#stop")
    assert await console.page.is_hidden("#phase")


async def test_every_figure_is_the_gateways_own(console: Console, stand_in: StandIn) -> None:
    await console.use_sample()
    await console.ask("What is this?")
    await console.ended()
    stages = await console.stages()
    assert {name: stages[name] for name in ("fetch", "decode", "resize", "queue")} == {
        "fetch": UNKNOWN,
        "decode": "3.1 ms",
        "resize": "1.2 ms",
        "queue": "0.4 ms",
    }
    assert (stages["prefill"], stages["generate"]) == ("42 ms", "200 ms")
    shown = {
        "#speed": "100 tok/s",  # 20 tokens after the first in 0.2 s
        "#cache": "bypass",
        "#tokens-prompt": "83",
        "#tokens-image": "64",
        "#tokens-cached": "7",
        "#tokens-completion": "21",
        "#model": "silkline-mini",
        "#bundle": MODEL_TAG.partition("@")[2],
        "#request-id": "req-0001",
    }
    assert {selector: await console.text(selector) for selector in shown} == shown


async def test_the_bar_is_to_scale(console: Console) -> None:
    await console.use_sample()
    await console.ask("What is this?")
    await console.ended()
    widths = await console.page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("#stages-bar > span")].map(
          (part) => [part.dataset.stage, part.getBoundingClientRect().width]))"""
    )
    assert widths["generate"] / widths["prefill"] == pytest.approx(0.2 / 0.0417, rel=0.05)
    bar = await console.page.locator("#stages-bar").bounding_box()
    assert bar is not None
    gaps = 2 * (len(widths) - 1)
    assert sum(widths.values()) + gaps == pytest.approx(bar["width"], abs=2)


@pytest.mark.parametrize("way", ["button", "escape"])
async def test_stop_frees_the_server_and_keeps_the_text(
    console: Console, stand_in: StandIn, way: str
) -> None:
    stand_in.reply = answer("A red ", asyncio.Event(), "never sent")
    await console.use_sample()
    await console.ask("What is this?")
    await console.until_text("#text", "A red")
    if way == "button":
        await console.page.focus("#stop")
        await console.page.keyboard.press("Enter")
    else:
        await console.page.keyboard.press("Escape")
    await console.ended()
    await asyncio.wait_for(stand_in.left.wait(), 10)
    assert (await console.text("#text")).strip() == "A red"
    assert await console.text("#note") == "Stopped here."
    assert await console.page.is_hidden("#failure")
    assert await console.focused() == "ask"
    stand_in.reply = answer("Still fine.")
    await console.page.keyboard.press("Control+Enter")
    await console.until_text("#text", "Still fine.")


async def test_one_request_at_a_time(console: Console, stand_in: StandIn) -> None:
    go_on = asyncio.Event()
    stand_in.reply = answer("Once.", go_on)
    await console.use_sample()
    await console.ask("What is this?")
    await console.until_text("#text", "Once.")
    await console.page.click("#ask", force=True)
    await console.page.keyboard.press("Control+Enter")
    go_on.set()
    await console.ended()
    assert len(stand_in.bodies) == 1


async def test_copying(console: Console, stand_in: StandIn) -> None:
    stand_in.reply = answer('{"category": "mug", ', '"count": 1.0}')
    await console.use_sample()
    await console.ask("Answer as JSON.")
    await console.ended()
    assert await console.copy("#copy-answer") == '{"category": "mug", "count": 1.0}'
    assert await console.text("#copy-answer") == "Copied"
    assert await console.copy("#copy-id") == "req-0001"


async def test_copying_where_the_clipboard_api_is_missing(
    stand_in: StandIn, open_console: OpenConsole
) -> None:
    console = await open_console(stand_in.url)
    await console.use_sample()
    await console.ask("What is this?")
    await console.ended()
    await console.page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })"
    )
    await console.page.click("#copy-answer")
    await console.until_text("#copy-answer", "Copied")
    await console.page.evaluate("delete navigator.clipboard")
    await console.page.context.grant_permissions(["clipboard-read"])
    assert await console.page.evaluate("navigator.clipboard.readText()") == "A red mug."


async def test_what_an_answer_needs_said_about_it(console: Console, stand_in: StandIn) -> None:
    await console.use_sample()
    for text, finish, note, shown in (
        ('{"a":[1]}', "stop", "Valid JSON, formatted.", '{\n  "a": [\n    1\n  ]\n}'),
        (
            '{"a":[1',
            "length",
            "Cut off at this page's limit on the length of an answer.",
            '{"a":[1',
        ),
        ("", "stop", "The model returned an empty answer.", ""),
    ):
        stand_in.reply = answer(text, finish=finish)
        await console.ask("Answer as JSON.")
        await console.until_text("#note", note)
        assert await console.page.text_content("#text") == shown


async def test_the_history_lets_answers_be_compared(
    console: Console, stand_in: StandIn, picture: Path
) -> None:
    await console.use_sample()
    await console.ask("First?")
    await console.ended()
    await console.page.click("#remove")
    await console.choose(picture)
    stand_in.reply = answer("Blue.", cache="hit")
    await console.ask("Second?")
    await console.until_text("#text", "Blue.")
    await console.ended()
    await console.page.click("#remove")
    await console.give_address("https://shop.example/a.jpg")
    stand_in.reply = refusal(400, "url_blocked", "Not there.")
    console.expected = ("400",)
    await console.ask("Third?")
    await console.until_text("#failure", "Not there.")

    rows = console.page.locator("#history-list button")
    for part, texts in {
        ".question": ["Third?", "Second?", "First?"],
        ".reply": ["This address is not allowed", "Blue.", "A red mug."],
        ".badge": ["url_blocked", "hit", "bypass"],
    }.items():
        assert await rows.locator(part).all_inner_texts() == texts
    assert await console.page.locator("#history-list img").count() == 2
    await rows.nth(2).click()
    assert await console.text("#text") == "A red mug."
    assert await console.page.is_hidden("#failure")
    assert await rows.nth(2).get_attribute("aria-current") == "true"
    assert await console.page.locator("#history-list [aria-current]").count() == 1
    await console.page.click("#again")
    await console.until_text("#history-list li:first-child", "First?")
    await console.ended()
    assert await console.text("#picture-name") == "sample.jpg"
    assert stand_in.bodies[-1] == stand_in.bodies[0]


async def test_an_older_answer_can_be_read_while_one_runs(
    console: Console, stand_in: StandIn
) -> None:
    await console.use_sample()
    await console.ask("First?")
    await console.ended()
    go_on = asyncio.Event()
    stand_in.reply = answer("New ", go_on, "answer.")
    await console.ask("Second?")
    await console.until_text("#text", "New")
    rows = console.page.locator("#history-list button")
    await rows.nth(1).click()
    assert await console.text("#text") == "A red mug."
    go_on.set()
    await console.until_text("#history-list li:first-child", "New answer.")
    assert await console.text("#text") == "A red mug."
    focused = "document.activeElement.querySelector('.question').textContent"
    assert await console.page.evaluate(focused) == "First?"
    await rows.nth(0).click()
    assert await console.text("#text") == "New answer."


@pytest.mark.slow
async def test_the_history_forgets_the_oldest(console: Console, stand_in: StandIn) -> None:
    await console.use_sample()
    for number in range(21):
        stand_in.reply = answer(f"Answer {number}.")
        await console.ask(f"Question {number}?")
        await console.until_text("#text", f"Answer {number}.")
        await console.ended()
    rows = await console.page.locator("#history-list .question").all_inner_texts()
    assert rows == [f"Question {number}?" for number in range(20, 0, -1)]


async def test_text_stays_text_wherever_it_comes_from(
    console: Console, stand_in: StandIn, tmp_path: Path
) -> None:
    named = tmp_path / "<img src=x onerror=broken>.png"
    named.write_bytes(b"not decodable")
    await console.choose(named)
    stand_in.reply = answer(MARKUP, cache=MARKUP.replace('"', "'"), model=f"{MARKUP}@{MARKUP}")
    await console.ask(MARKUP)
    await console.ended()
    for selector in ("#text", "#asked-text", "#model", "#bundle", "#history-list .reply"):
        assert await console.page.text_content(selector) == MARKUP
    assert await console.text("#picture-name") == named.name
    console.expected = ("418",)
    stand_in.reply = refusal(418, MARKUP, MARKUP, param=MARKUP)
    await console.ask("Again?")
    await console.until_text("#failure", MARKUP)
    assert await console.page.text_content("#failure-code") == MARKUP
    stand_in.reply = stream(event({"error": {"message": MARKUP, "code": MARKUP}}, kind="error"))
    await console.ask("And again?")
    await console.until_text("#history-list li:first-child", "And again?")
    await console.ended()
    assert await console.page.text_content("#failure-message") == MARKUP
    assert await console.page.locator("main script, [onerror], img[src='x']").count() == 0
    assert await console.page.evaluate("window.broken") is None
