"""Comparison and report: what is there is found, and the page needs nothing from outside."""

from __future__ import annotations

import io
import random
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import async_playwright
from rich.console import Console

from silkline.core import Image
from silkline.evaluate.compare import IMAGE_SIZE, compare, differing, worst
from silkline.evaluate.item import Item
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.catalogue import choose_metrics
from silkline.evaluate.report.cases import Case
from silkline.evaluate.report.images import data_url
from silkline.evaluate.report.page import page
from silkline.evaluate.report.word_diff import Part, diff_words
from silkline.evaluate.results import Evaluation
from silkline.evaluate.subject import Subject
from silkline.evaluate.summary import score_replies, summarise
from silkline.evaluate.terminal import tables
from tests.console.conftest import BROWSER_FLAGS, BROWSER_NAMES
from tests.evaluate.items import SUBJECT, item, reply

VOID = {"meta", "img", "line", "circle"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>&\"'[bold]\x1b[2J\ud7ff"
PICTURE = data_url(Image(8, 8, bytes(8 * 8 * 3), "0" * 64))
DAMAGED = msgspec.structs.replace(SUBJECT, name="damaged", max_pixels=576)


def evaluated(items: Sequence[Item], *sides: Sequence[Reply]) -> tuple[Evaluation, list[Case], str]:
    """What the command would show: the evaluation, its cases and the terminal's text."""
    metrics = choose_metrics((), items)
    scores = [score_replies(items, side, metrics) for side in sides]
    subjects: tuple[Subject, ...] = (SUBJECT, DAMAGED)
    results = [
        summarise(subject, side, metrics, score, 0)
        for subject, side, score in zip(subjects, sides, scores, strict=False)
    ]
    comparison, places = None, list(range(min(3, len(items))))
    if len(sides) > 1:
        pair, both = (sides[0], sides[1]), (scores[0], scores[1])
        comparison = compare(items, pair, metrics, both, 0)
        places = worst(items, metrics, both, 24) or differing(items, pair, 24)
    found = Evaluation("set", "0" * 16, len(items), 0, results, comparison)
    cases = [Case(items[n], tuple(side[n] for side in sides), PICTURE) for n in places]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(tables(found))
    return found, cases, console.export_text()


def sides(wrong_in: str, share: float) -> tuple[list[Item], list[Reply], list[Reply]]:
    """200 items in four groups; B is wrong in one of the groups, with some probability."""
    rng = random.Random(5)
    items, first, second = [], [], []
    for number in range(200):
        group = "nsew"[number % 4]
        name = str(number)
        items.append(item("a red mug", name=name, fields={"group": group}))
        first.append(reply("a red mug", name=name, pixels=64 * (1 + number % 2)))
        broken = group == wrong_in and rng.random() < share
        second.append(reply("a blue mug" if broken else "a red mug", name=name))
    return items, first, second


def test_damage_in_one_slice_is_found_there() -> None:
    found, cases, shown = evaluated(*sides("e", 0.6))
    assert found.comparison
    first = found.comparison.differences[0]
    assert first.metric == "exact_match"
    assert first.is_clear
    assert first.better == 0
    assert first.difference == pytest.approx(-first.worse / 200)
    clear = [(one.field, one.value) for one in found.comparison.slices if one.is_clear]
    assert clear[0] == ("group", "e")
    assert ("group", "n") not in clear
    assert {one.field for one in found.comparison.slices} == {"group", IMAGE_SIZE}
    assert {case.item.fields["group"] for case in cases} == {"e"}
    assert "B is worse than A." in shown
    assert "group = e" in shown


def test_pictures_of_many_sizes_are_sliced_in_three() -> None:
    items = [item("a", name=str(number)) for number in range(30)]
    said = [reply("a", name=str(number), pixels=1_000 * (number + 1)) for number in range(30)]
    found, _, _ = evaluated(items, said, said)
    assert found.comparison
    assert {(one.value, one.items) for one in found.comparison.slices} == {
        ("up to 11,000 pixels", 11), ("up to 21,000 pixels", 10), ("over 21,000 pixels", 9),
    }  # fmt: skip


def test_the_worst_comes_first() -> None:
    right = "one two three four"
    said = [right, "one two three", "one", "one two", right]
    items = [item(right, name=str(number)) for number in range(5)]
    good = [reply(right, name=str(number)) for number in range(5)]
    bad = [reply(text, name=str(number)) for number, text in enumerate(said)]
    _, cases, _ = evaluated(items, good, bad)
    assert [case.item.id for case in cases] == ["2", "3", "1"]


def test_a_against_itself_is_no_difference() -> None:
    found, cases, shown = evaluated(*sides("e", 0.0))
    assert found.comparison
    assert found.comparison.agreement == 1.0
    assert not any(one.is_clear for one in found.comparison.differences)
    assert not any(one.is_clear for one in found.comparison.slices)
    assert cases == []
    assert "No difference." in shown
    assert "Up to 1.5% of such items" in " ".join(shown.split())


def test_no_answer_is_a_wrong_answer() -> None:
    items = [item("m", name="1"), item("", name="2")]
    found, _, shown = evaluated(items, [reply("m", name="1"), reply(None, name="2")])
    assert found.results[0].scores[0].mean == 0.5
    assert found.results[0].failures == {"worker_lost": 1}
    assert "1 of 2 items got no answer (worker_lost)" in shown


def test_without_references_the_answers_are_compared() -> None:
    items = [item(name="1"), item(name="2")]
    found, cases, shown = evaluated(
        items,
        [reply("x y", name="1"), reply("z", name="2")],
        [reply("x w", name="1"), reply("z", name="2")],
    )
    assert found.comparison
    assert found.comparison.agreement == 0.5
    assert [case.item.id for case in cases] == ["1"]
    assert "<del>y</del><ins>w</ins>" in page(found, cases)
    assert "50.0% of the answers are the same" in shown


class Strict(HTMLParser):
    """Keeps track of open elements; collects elements, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile() -> tuple[Evaluation, list[Case]]:
    record = item(name=HOSTILE, record={HOSTILE[:40]: HOSTILE}, fields={HOSTILE[:30]: HOSTILE})
    other = item(name="2", record={"a": 1}, fields={HOSTILE[:30]: "x"})
    said = [reply(HOSTILE, name=HOSTILE), reply(None, name="2")]
    good = [reply('{"a": 1}', name=HOSTILE), reply('{"a": 1}', name="2")]
    found, cases, _ = evaluated([record, other], good, said)
    return found, cases


def hostile_text() -> tuple[Evaluation, list[Case]]:
    return evaluated([item(HOSTILE)], [reply(HOSTILE + HOSTILE)])[:2]


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    for found, cases in (hostile(), hostile_text(), evaluated(*sides("e", 0.6))[:2]):
        parser = Strict()
        text = page(found, cases)
        parser.feed(text)
        parser.close()
        assert parser.open == []
        assert not parser.seen & {"script", "link", "iframe", "object", "base"}
        assert all(
            value.startswith("data:image/jpeg;base64,")
            for name, value in parser.attributes
            if name in {"src", "href", "xlink:href", "srcset"}
        )
        assert not [name for name, _ in parser.attributes if name.startswith("on")]
        assert not re.search(r"url\(|@import", text)


@pytest.mark.slow
def test_words_are_compared() -> None:
    found = list(diff_words("a red mug", "a blue mug, new"))
    assert [one for one in found if one[0] is Part.MISSING] == [(Part.MISSING, "red")]
    assert "".join(text for part, text in found if part is not Part.MISSING) == "a blue mug, new"
    assert "".join(text for part, text in found if part is not Part.EXTRA) == "a red mug"
    assert len(list(diff_words("a " * 9_999, "b " * 9_999))) <= 2_000


@pytest.mark.slow
async def test_the_page_in_a_browser(tmp_path: Path) -> None:
    browsers = [path for name in BROWSER_NAMES if (path := shutil.which(name))]
    if not browsers:
        pytest.fail("No Chromium on PATH. Run: apt-get update && apt-get install -y chromium")
    asked: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=browsers[0], args=list(BROWSER_FLAGS)
        )
        for name, (found, cases) in (
            ("plain", evaluated(*sides("e", 0.6))[:2]), ("hostile", hostile()),
        ):  # fmt: skip
            written = tmp_path / f"{name}.html"
            written.write_text(page(found, cases), encoding="utf-8", errors="replace")
            tab = await browser.new_page(viewport={"width": 420, "height": 800})
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("console", lambda message: asked.append(message.text))
            await tab.goto(written.as_uri())
            assert await tab.evaluate("document.documentElement.scrollWidth") == 420
            assert await tab.locator("article img").count() == len(cases)
            loaded = await tab.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
            assert loaded
        await browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [
        (tmp_path / f"{name}.html").as_uri() for name in ("plain", "hostile")
    ]
