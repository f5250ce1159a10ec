"""What every report promises, over texts that strangers chose."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from silkline.bench.record import Run
from silkline.bench.report.page import page as bench_page
from silkline.bench.spec import Target
from silkline.bench.summary import compare, summarise
from silkline.evaluate.compare import compare as compare_answers
from silkline.evaluate.item import ImageKind, Item, ItemImage
from silkline.evaluate.journal import Reply
from silkline.evaluate.metrics.catalogue import choose_metrics
from silkline.evaluate.report.cases import Case
from silkline.evaluate.report.page import page as evaluate_page
from silkline.evaluate.results import Evaluation
from silkline.evaluate.subject import Subject
from silkline.evaluate.summary import score_replies
from silkline.evaluate.summary import summarise as summarise_answers
from silkline.report.page import render
from tests.bench.runs import good_run, made_run, record

HOSTILE = "</script></style></title><script>alert(1)</script><img src=x onerror=alert(1)>"
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40) | st.sampled_from(
    [
        HOSTILE,
        "\"' onload='alert(1)' x=\"",
        "{{ 7 * 7 }}{% include 'base.css' %}{# #}",
        "<!--<script>",
        "]]>&amp;&lt;b&#62;",
        "\u202eright to left\u2066 \U0001f9f5",
        "a\u2028b\x00\x1b[2J\r\n",
        "https://a.example/x.jpg?a=1&b=2",
    ]
)


class Element(NamedTuple):
    name: str
    attributes: dict[str, str]


class Parsed(HTMLParser):
    """The elements of a page, its text, and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag == "script":
            self.scripts.append((element.attributes, ""))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self.open[-1:] != ["style"]:
            self.text += data

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Elements with the names of their attributes."""
        return [(one.name, tuple(one.attributes)) for one in self.elements]

    @property
    def policy(self) -> str:
        return next(
            one.attributes["content"]
            for one in self.elements
            if one.attributes.get("http-equiv") == "Content-Security-Policy"
        )


def benched(text: str) -> str:
    """A page of a bench in which every text is this one."""
    run = made_run(
        record(0, cache=text, stages={text: 0.001}),
        record(1, first_token=0.15, gaps=[0.001]),
        record(2, status=503, code=text),
        record(3, target=1),
        targets=2,
    )
    targets = tuple(Target(text, text) for _ in run.spec.targets)
    spec = msgspec.structs.replace(run.spec, targets=targets)
    return bench_of(msgspec.structs.replace(run, spec=spec, model=text, began=text))


def bench_of(run: Run) -> str:
    sides = [summarise(run, target, 0.42) for target in range(len(run.spec.targets))]
    return bench_page(run, sides, compare(run, 0.42) if len(sides) > 1 else None)


def evaluated(text: str, *, as_record: bool) -> str:
    """A page of an evaluation in which every text is this one."""
    return evaluate_page(*evaluation_of(text, as_record=as_record))


def evaluation_of(text: str, *, as_record: bool) -> tuple[Evaluation, list[Case]]:
    asked = ItemImage(ImageKind.URL, text)
    items = [
        Item(
            id=text,
            key=f"key {number}",
            image=asked,
            prompt=text,
            references=() if as_record else (text,),
            record={text: text} if as_record else None,
            fields={text: text},
            group=text,
        )
        for number in range(3)
    ]
    subject = Subject(name=text, model=text, engine=text, precision=text, max_tokens=1)
    answers = [
        json.dumps({text: text, "more": text}) if as_record else f"{text} {text}",
        text,
        None,
    ]
    said = [
        Reply(
            subject="s", item=one.key, id=text, answer=answer, error=text, message=text, seconds=0.1
        )
        for one, answer in zip(items, answers, strict=True)
    ]
    right = [msgspec.structs.replace(one, answer=answers[0]) for one in said]
    metrics = choose_metrics((), items)
    both = (score_replies(items, right, metrics), score_replies(items, said, metrics))
    results = [
        summarise_answers(subject, side, metrics, scores, 0)
        for side, scores in zip((right, said), both, strict=True)
    ]
    found = Evaluation(
        text, text, 3, 0, results, compare_answers(items, (right, said), metrics, both, 0)
    )
    cases = [Case(*one, "") for one in zip(items, zip(right, said, strict=True), strict=True)]
    return found, cases


def safe(page: str) -> Parsed:
    """The page, parsed: whole, and with no element or attribute that could do something."""
    parsed = Parsed(page)
    assert parsed.open == []
    assert not {one.name for one in parsed.elements} & {"link", "iframe", "object", "base", "form"}
    assert not [
        name
        for one in parsed.elements
        for name in one.attributes
        if name.startswith("on") or name in {"src", "href", "xlink:href", "srcset", "style"}
    ]
    digests = [
        base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for attributes, text in parsed.scripts
        if attributes.get("type") != "application/json"
    ]
    assert re.findall(r"'sha256-([^']+)'", parsed.policy) == digests
    return parsed


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(TEXTS)
@example(HOSTILE)
@example("{{ 7 * 7 }}")
def test_no_text_breaks_out_of_the_page_of_a_bench(text: str) -> None:
    parsed = safe(benched(text))
    data = [json.loads(body) for attributes, body in parsed.scripts if attributes]
    assert text in [series["name"] for hover in data for series in hover["series"]]
    assert parsed.shape == Parsed(benched("harmless")).shape


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.booleans())
@example(HOSTILE, True)
@example(HOSTILE, False)
@example("{{ 7 * 7 }}", False)
def test_no_text_breaks_out_of_the_page_of_an_evaluation(text: str, as_record: bool) -> None:
    parsed = safe(evaluated(text, as_record=as_record))
    assert parsed.scripts == []
    assert text.replace("\r\n", "\n") in parsed.text.replace("\r\n", "\n")
    assert {one.name for one in parsed.elements} <= {
        one.name for one in Parsed(evaluated("a b", as_record=as_record)).elements
    } | {"ins", "del", "mark"}


def test_the_same_run_gives_the_same_page() -> None:
    assert bench_of(good_run(2)) == bench_of(good_run(2))
    assert evaluated("a", as_record=True) == evaluated("a", as_record=True)


def test_only_the_script_of_the_kit_may_run() -> None:
    for page, allowed in ((benched("a"), 1), (evaluated("a", as_record=False), 0)):
        policy = safe(page).policy
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
        assert policy.count("script-src 'sha256-") == allowed


def test_a_report_is_a_template_and_a_style_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a_report_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "page.html.jinja").write_text(
        '{% extends "base.html.jinja" %}{% from "parts.html.jinja" import table, tiles %}\n'
        "{% block header %}<h1>{{ heading }}</h1>{% endblock %}"
        '{% block main %}{{ table(["", "n"], [("a", 1)]) }}'
        '{{ tiles([("b", 2, "c")]) }}{% endblock %}'
        "{% block footer %}Done.{% endblock %}"
    )
    (package / "page.css").write_text(".own { color: red; }")
    monkeypatch.syspath_prepend(tmp_path)
    given_values = {"title": "<T>", "command": "silkline x", "heading": "<h>"}
    page = render("a_report_of_a_test", **given_values)  # type: ignore[arg-type]
    assert {"title", "style", "h1", "table", "dl", "footer"} <= {
        one.name for one in safe(page).elements
    }
    assert "<h1>&lt;h&gt;</h1>" in page
    assert ".own { color: red; }" in page
    with pytest.raises(UndefinedError, match="heading"):
        render("a_report_of_a_test", title="t", command="c")
