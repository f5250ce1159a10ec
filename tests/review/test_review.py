"""The review of a month: every figure on the page, beside the same computed from raw rows."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.recorded_month import write_month
from silkline.review.records import Month
from tests.cli.commands import invoked
from tests.review.recomputed import Page, expected_tables, month_of

MONTH = Month(2026, 11)


def reviewed(folder: Path, *arguments: object) -> str:
    out = folder / "page.html"
    ended = invoked(
        "review", "--month", MONTH, "-o", out, "--config", folder / "silkline.toml", *arguments
    )
    assert ended.code == 0, ended.error
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    write_month(folder, MONTH, 150)
    settings = folder / "silkline.toml"
    text = settings.read_text()
    for name in ("requests", "experiments", "drift"):
        text = text.replace(f'"{name}.sqlite"', f'"{folder / name}.sqlite"')
    settings.write_text(text)
    return folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return reviewed(folder, "--log", folder / "silkline.log")


@pytest.fixture(scope="module")
def now(folder: Path) -> dict[str, Any]:
    return month_of(folder, MONTH.begin, MONTH.end)


@pytest.mark.parametrize(
    "table", ["business", "objectives", "stages", "load", "quality", "incidents"]
)
def test_every_figure_of_a_table_is_that_of_the_raw_records(
    table: str, folder: Path, html: str, now: dict[str, Any]
) -> None:
    before = month_of(folder, MONTH.before.begin, MONTH.begin)
    found = Page(html).table(table)
    found.pop("", None)  # the head of a table without a name for its first column
    heads = {"objective", "stage", "error"}
    assert {name: row for name, row in found.items() if name not in heads} == expected_tables(
        now, before
    )[table]


def test_the_tiles_are_figures_of_the_tables(html: str) -> None:
    page = Page(html)
    business, stages = page.table("business"), page.table("stages")
    assert page.tiles["Answers"] == business["Answers"][0]
    assert page.tiles["Cost of a thousand"] == business["Cost of a thousand answers"][0]
    assert page.tiles["Saved by the cache"] == business["Saved by the cache"][0]
    assert page.tiles["Accepted as they were"] == business["Accepted without correction"][0]
    assert page.tiles["P95"] == stages["all"][3]


def test_the_days_of_the_plot_add_up(html: str, now: dict[str, Any]) -> None:
    days = [row for row in Page(html).rows[""] if row[0].endswith("Nov") and len(row) == 4]
    columns = [[int(row[at].replace(",", "")) for row in days] for at in (1, 2, 3)]
    assert len(days) == 30
    computed, cached, failed = map(sum, columns)
    assert computed == now["computed"]
    assert cached == now["answers"] - now["computed"]
    assert failed == len(now["failures"])


def test_incidents_have_their_failures_and_what_the_logs_say(
    html: str, now: dict[str, Any]
) -> None:
    groups: list[list[float]] = [[]]
    for at in sorted(now["failures"]):
        if groups[-1] and at - groups[-1][-1] > 600:
            groups.append([])
        groups[-1].append(at)
    texts = Page(html).texts["incidents"]
    shown = [group for group in groups if len(group) >= 3]
    assert shown
    for group in shown:
        begin, end = (datetime.fromtimestamp(at, UTC) for at in (group[0], group[-1]))
        title = texts.index(f"{begin:%d %b %H:%M} to {end:%H:%M} UTC")
        assert texts[title + 1].startswith(f"{len(group)} failed: ")
    assert any("killed by signal 9" in text for text in texts)


def test_the_worst_requests_are_shown_with_their_images(folder: Path, html: str) -> None:
    with closing(sqlite3.connect(folder / "requests.sqlite")) as file:
        slowest = file.execute(
            "SELECT id FROM requests WHERE at >= ? AND error = '' ORDER BY seconds DESC LIMIT 4",
            (MONTH.begin,),
        ).fetchall()
    texts = Page(html).texts["worst"]
    assert [text for text in texts if text.startswith("shop-")][-4:] == [one for (one,) in slowest]
    assert html.count("data:image/png;base64,") == 4


def test_the_page_refers_to_nothing_outside(html: str) -> None:
    namespace = '"http://www.w3.org/2000/svg"'
    assert "http" not in html.replace("http-equiv", "").replace(namespace, "")
    assert "default-src &#39;none&#39;" in html


def test_the_gain_of_a_longer_cache_is_that_of_a_replay(folder: Path, html: str) -> None:
    with closing(sqlite3.connect(folder / "requests.sqlite")) as file:
        raw = file.execute(
            "SELECT entry FROM requests WHERE at >= ? AND error = '' ORDER BY at", (MONTH.begin,)
        ).fetchall()
    (title,) = [text for text in Page(html).texts["actions"] if "cache_ttl" in text]
    ttl = float(title.split(" for ")[1].split(" h ")[0]) * 3600
    kept: dict[str, float] = {}
    saved = work = 0.0
    count = 0
    for entry in (json.loads(text) for (text,) in raw):
        engine = sum(entry["timeline"].get(stage, 0) for stage in ("prefill", "generate"))
        work += engine
        if entry["cache"] == "bypass":
            continue
        product = entry["images"][0]["digest"]
        if entry["at"] - kept.get(product, -1e18) > ttl:
            kept[product] = entry["at"]
        elif entry["cache"] == "miss":
            count, saved = count + 1, saved + engine
    gains = Page(html).texts["actions"]
    assert any(
        text.startswith(f"{count:,} answers fewer to compute: {100 * saved / work:.1f}%")
        for text in gains
    )


def test_the_month_before_is_not_needed(folder: Path) -> None:
    out = folder / "october.html"
    ended = invoked("review", "--month", "2026-10", "-o", out, "--config", folder / "silkline.toml")
    assert ended.code == 0, ended.error
    assert "A comparison with 2026-09" in out.read_text()
    assert Page(out.read_text()).table("business")["Questions"][1:] == ["-", "-"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    missing = " ".join(Page(without_requests(tmp_path)).texts["missing"])
    for name in (
        "history_file", "machine_price", "drift_journal", "experiment_file", "--log",
        "--prometheus", "Gates refused", "fewer pixels",
    ):  # fmt: skip
        assert name in missing


@contextmanager
def prometheus(*values: str, status: int = 200) -> Iterator[str]:
    """A server that answers one query after the other."""
    left = iter(values)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(next(left, "{}").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def result(value: str, **labels: str) -> str:
    return json.dumps({"data": {"result": [{"metric": labels, "value": [0, value]}]}})


def without_requests(folder: Path, *arguments: object) -> str:
    (folder / "silkline.toml").write_text("")
    return reviewed(folder, *arguments)


def test_prometheus_adds_what_it_knows(tmp_path: Path) -> None:
    fired = result("90", alertname="SilklineDrift")
    with prometheus(result("0.25"), result("0.875"), fired) as url:
        page = Page(without_requests(tmp_path, "--prometheus", url))
    assert page.table("load")["Engines busy (Prometheus), mean"] == ["25.0%", "-"]
    assert page.table("load")["The same in the busiest 5 minutes"] == ["87.5%", "-"]
    assert page.table("incidents")["SilklineDrift"] == ["90 min"]


@pytest.mark.parametrize("answer", ["nothing", "[]", '{"data": {}}', '{"data": {"result": [1]}}'])
def test_a_prometheus_that_is_gone_is_said(answer: str, tmp_path: Path, folder: Path) -> None:
    drift = ("--drift", folder / "drift.sqlite")
    with prometheus(answer, status=502) as url:
        found = without_requests(tmp_path, "--prometheus", url, *drift)
    assert "does not respond as a Prometheus does" in found
    assert Page(found).table("quality")["Runs of the canary set"] == ["120", "-"]


def test_what_the_records_say_is_text(folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "experiments.sqlite"
    shutil.copy(folder / journal.name, journal)
    with closing(sqlite3.connect(journal)) as file, file:
        file.execute("UPDATE decisions SET reason = '<img src=x onerror=alert(1)>'")
    html = without_requests(tmp_path, "--experiments", journal)
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img src=x" not in html


@pytest.mark.parametrize("month", ["november", "2026-13", "2026", "26-1-1"])
def test_a_wrong_month_is_refused(month: str) -> None:
    ended = invoked("review", "--month", month)
    assert (ended.code, "is no month" in ended.error) == (2, True)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"no database, but long enough to be read as one" * 10)
    ended = invoked("review", "--month", MONTH, "--history", other, "-o", tmp_path / "page.html")
    assert (ended.code, "cannot be read" in ended.error) == (2, True)
