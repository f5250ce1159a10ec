from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from silkline.bench.record import Run
from silkline.bench.report.over_time import rates
from silkline.bench.report.page import page
from silkline.bench.report.timeline import timeline
from silkline.bench.results import write_results
from silkline.bench.summary import compare, summarise
from silkline.errors import EnvironmentFault
from tests.bench.runs import good_run, made_run, record

_VOID = {"meta", "line", "rect", "polyline", "polygon"}


class Checked(HTMLParser):
    """Holds every element to be closed, and collects what refers to something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.headings: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID - {"rect"}:
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _VOID

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)


def rendered(run: Run) -> tuple[str, Checked]:
    summaries = [summarise(run, target, 0.42) for target in range(len(run.spec.targets))]
    text = page(run, summaries, compare(run, 0.42) if len(summaries) > 1 else None)
    checked = Checked()
    checked.feed(text)
    assert checked.open == []
    return text, checked


@pytest.mark.parametrize("targets", [1, 2])
def test_the_page_is_whole_and_needs_nothing_else(targets: int) -> None:
    text, checked = rendered(good_run(targets))
    assert checked.references == []
    outside = set(re.findall(r"(?:https?:)?//[\w.:-]+", text)) - {"http://www.w3.org"}
    assert outside <= {f"http://127.0.0.1:{8000 + n}" for n in range(targets)}
    assert "@import" not in text
    assert "url(" not in text
    assert "nan" not in re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL).lower()
    for title in ("Offered, served, good", "Latency by percentile", "The generator"):
        assert title in checked.headings
    if targets == 2:
        assert {"B beside A", "Latency over time, A", "Latency over time, B"} <= set(
            checked.headings
        )


def test_values_under_the_pointer_fit_their_plot() -> None:
    _, checked = rendered(good_run())
    found = [json.loads(text) for text in checked.scripts if text.startswith("{")]
    assert len(found) == 4  # rates, latency, percentiles, cache
    for hover in found:
        assert len(hover["x"]) == len(hover["labels"]) > 1
        assert hover["x"] == sorted(hover["x"])
        for series in hover["series"]:
            assert len(series["texts"]) == len(hover["x"])


def test_streams_failures_and_names_are_shown() -> None:
    run = made_run(
        record(1, first_token=0.15, gaps=[0.001]),
        record(2, status=503, code="<b>"),
        record(3, status=200, cache="<i>x</i>", stages={"</script>": 0.001}),
    )
    text, checked = rendered(run)
    assert {"Streams", "Failures"} <= set(checked.headings)
    assert "<b>" not in text
    assert "<i>x" not in text
    assert [data for data in checked.scripts if "\\u003cb>" in data]


@pytest.mark.parametrize(
    "run",
    [
        made_run(record(0, status=0, code="connect_failed", ended=0.0)),
        made_run(record(0, latency=0.0)),
        made_run(record(0, cache="", stages={})),
        made_run(record(0), targets=2),
    ],
    ids=["all failed", "no time at all", "no evidence", "one side empty"],
)
def test_thin_runs_have_a_page(run: Run) -> None:
    rendered(run)


@pytest.mark.parametrize("seconds", [0.5, 18.0, 90.0, 600.0, 86_400.0])
def test_any_length_has_a_few_bins_and_labels(seconds: float) -> None:
    records = [record(0), record(1, ended=seconds * 2)]
    line = timeline(records, seconds, 0.42)
    assert 1 <= len(line.bins) <= 120
    assert line.edges[-1] == seconds
    assert sum(one.offered for one in line.bins) == 2
    plot = rates([line], [""])
    assert 2 <= plot.svg.count('class="mark"') <= 15


def test_no_latency_is_told_where_nothing_was_answered() -> None:
    text, _ = rendered(made_run(*(record(number, status=404) for number in range(20))))
    assert "<dt>P50</dt><dd>-</dd>" in text
    assert "<dt>slowest</dt><dd>-</dd>" in text
    assert "0.00 ms" not in text
    assert "<td>0</td><td>-</td>" in text


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_made_is_a_fault_of_the_machine(tmp_path: Path, place: str) -> None:
    (tmp_path / "taken").write_text("a file")
    run = good_run()
    with pytest.raises(EnvironmentFault, match=r"cannot be written into .*taken.* --out"):
        write_results(run, [summarise(run, 0, 0.42)], None, tmp_path / place)
