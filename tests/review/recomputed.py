"""A page's tables, and the figures of a month computed from the raw files alone.

Nothing here calls the review: rows are read by SQL and JSON, figures are computed anew.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from silkline.report.numbers import span

CACHED = ("hit", "coalesced", "near")
SERVER_FAULTS = ("worker_lost", "overloaded")
SLOW, SLOW_FIRST, PRICE, SLOTS = 1.5, 0.8, 0.42, 8


class Page(HTMLParser):
    """The rows of a page's tables, by the id of their section; tiles by their name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = defaultdict(list)
        self.tiles: dict[str, str] = {}
        self.texts: dict[str, list[str]] = defaultdict(list)
        self._section, self._tag, self._open = "", "", ""
        self._tile: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self._section = dict(attrs).get("id") or ""
        elif tag == "tr":
            self.rows[self._section].append([])
        elif tag in {"th", "td"}:
            self.rows[self._section][-1].append("")
        elif tag == "dt":
            self._tile = []
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._tag:
            self._tag = ""
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._tag in {"th", "td"}:
            self.rows[self._section][-1][-1] += data
        elif self._tag in {"dt", "dd"}:
            self._tile.append(data)
            if len(self._tile) == 2:
                self.tiles[self._tile[0]] = self._tile[1]
        elif data.strip():
            self.texts[self._section].append(data.strip())

    def table(self, section: str) -> dict[str, list[str]]:
        return {row[0]: row[1:] for row in self.rows[section]}


def month_of(folder: Path, begin: float, end: float) -> dict[str, Any]:
    """Every figure of a span of time, from the raw rows."""
    entries = [json.loads(row[0]) for row in rows(folder / "requests.sqlite", "requests", "entry")]
    entries = sorted(
        (one for one in entries if begin <= one["at"] < end), key=lambda one: float(one["at"])
    )
    rewards = [
        value
        for value, at in rows(folder / "experiments.sqlite", "rewards", "value, at")
        if begin <= at < end
    ]
    return {
        **of_requests(entries),
        "rewards": len(rewards),
        "accepted": rewards.count(1.0) / len(rewards) if rewards else None,
        **of_drift(folder / "drift.sqlite", begin, end),
    }


def of_requests(entries: list[dict[str, Any]]) -> dict[str, Any]:
    good = [one for one in entries if one["status"] == 200]
    computed = [one for one in good if one["cache"] not in CACHED]
    bad = [one for one in entries if one["error"] in SERVER_FAULTS]
    spent = PRICE * (entries[-1]["at"] - entries[0]["at"]) / 3600
    streams = [one["first_token_seconds"] for one in entries if one["first_token_seconds"]]
    hours: dict[int, float] = defaultdict(float)
    for one in computed:
        timeline = one["timeline"]
        hours[int(one["at"] // 3600)] += timeline["prefill"] + timeline["generate"]
    return {
        "questions": len(entries),
        "answers": len(good),
        "images": sum(len(one["images"]) for one in good),
        "products": len({image["digest"] for one in good for image in one["images"]}),
        "computed": len(computed),
        "prompt": sum(one["usage"]["prompt_tokens"] for one in good),
        "completion": sum(one["usage"]["completion_tokens"] for one in good),
        "cost": 1000 * spent / len(good),
        "saved": spent / len(computed) * (len(good) - len(computed)),
        "availability": (len(bad), len(good) + len(bad), 0.995),
        "latency": (sum(one["seconds"] > SLOW for one in good), len(good), 0.95),
        "first_token": (sum(value > SLOW_FIRST for value in streams), len(streams), 0.95),
        "all": [one["seconds"] for one in good],
        "stages": stages_of(good),
        "hours": hours,
        "span": entries[-1]["at"] - entries[0]["at"],
        "errors": Counter(one["error"] for one in entries if one["error"]),
        "failures": [one["at"] for one in bad],
    }


def of_drift(path: Path, begin: float, end: float) -> dict[str, Any]:
    runs = [json.loads(row[0]) for row in rows(path, "runs", "run")]
    runs = [run for run in runs if begin <= run["at"] < end]
    windows = [
        json.loads(found)
        for began, found in rows(path, "windows", "began, findings")
        if begin <= began < end
    ]
    return {
        "runs": len(runs),
        "changed": sum(any(one["state"] == "changed" for one in run["replies"]) for run in runs),
        "score": sum(run["score"] for run in runs) / len(runs),
        "windows": len(windows),
        "drifted": sum(found["look"]["index"] > found["look"]["limit"] for found in windows),
    }


def rows(path: Path, table: str, columns: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(f"SELECT {columns} FROM {table}").fetchall()


def stages_of(good: list[dict[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for one in good:
        for stage, seconds in one["timeline"].items():
            found[stage].append(seconds)
    return found


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def growth(now: float, before: float) -> str:
    return f"{100 * (now - before) / before:+.1f}%" if before else "-"


def expected_tables(now: dict[str, Any], before: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """The rows of each table, as the page should have them."""
    return {
        "business": business(now, before), "objectives": objectives(now, before),
        "stages": stages(now, before), "load": load(now, before), "quality": quality(now, before),
        "incidents": {code: [f"{count:,}"] for code, count in now["errors"].items()},
    }  # fmt: skip


def business(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    counts = {
        "Questions": "questions", "Answers": "answers", "Images described": "images",
        "Different images": "products", "Answers computed": "computed", "Prompt tokens": "prompt",
        "Completion tokens": "completion", "Requests with feedback": "rewards",
    }  # fmt: skip
    found = {
        name: [f"{now[key]:,}", f"{before[key]:,}", growth(now[key], before[key])]
        for name, key in counts.items()
    }
    for name, key in (("Cost of a thousand answers", "cost"), ("Saved by the cache", "saved")):
        found[name] = [f"{now[key]:,.2f}", f"{before[key]:,.2f}", growth(now[key], before[key])]
    found["Accepted without correction"] = [f"{100 * now['accepted']:.1f}%", "-", "-"]
    return found


def objectives(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    found = {}
    for name, key in (
        ("Not failed", "availability"), ("Fast", "latency"), ("First token fast", "first_token"),
    ):  # fmt: skip
        misses, questions, target = now[key]
        old = before[key]
        found[name] = [
            f"{100 * target:.1f}%",
            f"{100 * (questions - misses) / questions:.2f}%",
            f"{100 * (old[1] - old[0]) / old[1]:.2f}%",
            f"{misses:,} of {questions:,}",
            f"{100 * (1 - misses / questions / (1 - target)):.1f}%",
        ]
    return found


def stages(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    found = {}
    for name, values in {"all": now["all"], **now["stages"]}.items():
        old = before["all"] if name == "all" else before["stages"][name]
        shown = [sum(values) / len(values), *(percentile(values, one) for one in (0.5, 0.95, 0.99))]
        found[name] = [f"{len(values):,}", *map(span, shown), span(percentile(old, 0.95))]
    return found


def load(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    def mean(one: dict[str, Any]) -> str:
        return f"{sum(one['hours'].values()) / one['span']:.3g}"

    hour = max(now["hours"], key=now["hours"].__getitem__)
    peaks: dict[int, float] = defaultdict(float)
    for each, seconds in now["hours"].items():
        peaks[each // 24] = max(peaks[each // 24], seconds / 3600)
    days, values = list(peaks), list(peaks.values())
    count = len(days)
    slope = (count * sum(day * value for day, value in peaks.items()) - sum(days) * sum(values)) / (
        count * sum(day * day for day in days) - sum(days) ** 2
    )
    level = sum(values) / count + slope * (max(days) - sum(days) / count)
    left = (SLOTS - level) / slope if slope > 0 else math.inf
    far = "not within ten years at this trend"
    return {
        "Answers in the engines at once, mean": [mean(now), mean(before)],
        "The same in the busiest hour": [
            f"{max(one['hours'].values()) / 3600:.3g}" for one in (now, before)
        ],
        "The busiest hour began": [
            f"{datetime.fromtimestamp(hour * 3600, UTC):%d %b %H:%M} UTC", "-"
        ],
        "Slots of the engines": [str(SLOTS), "-"],
        "Growth of the busiest hour, a day": [f"{slope:+.2g}", "-"],
        "The engines are full": [f"in {left:,.0f} days" if left <= 3650 else far, "-"],
    }  # fmt: skip


def quality(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    return {
        "Runs of the canary set": [f"{now['runs']:,}", f"{before['runs']:,}"],
        "Runs with changed or failed answers": [f"{now['changed']:,}", f"{before['changed']:,}"],
        "Mean score of the canary set": [
            f"{100 * now['score']:.1f}%", f"{100 * before['score']:.1f}%"
        ],
        "Windows of traffic compared": [f"{now['windows']:,}", f"{before['windows']:,}"],
        "Windows in which look drifted": [f"{now['drifted']:,}", f"{before['drifted']:,}"],
    }  # fmt: skip
