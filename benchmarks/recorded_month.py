"""Writes the records of two months of invented traffic, for a look at `silkline review`.

The files are those that a server writes: the request history, the journals of experiments and of
drift, and log lines. A shop asks about its catalogue, more by day than by night and a little more
each day; popular products come from the cache. On the 17th workers are lost for half an hour, on
the 24th a bit flips, and from the 26th on new images arrive.

    python -m benchmarks.recorded_month --month 2026-11 -o recorded
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
from PIL import Image, ImageDraw

from silkline.config import ExperimentSettings, HistorySettings
from silkline.core import Usage
from silkline.drift.journal import Finding, Reply, Run, Window
from silkline.drift.journal import Journal as DriftJournal
from silkline.experiments.assignment import Arm
from silkline.experiments.journal import Decision, Serving
from silkline.experiments.journal import Journal as ExperimentJournal
from silkline.experiments.tally import Observation
from silkline.gateway.history import file as history
from silkline.gateway.history.content import File, Packed
from silkline.gateway.history.entry import Entry, ImageFacts
from silkline.review.records import Month
from silkline.routing.attempt import Attempt
from silkline.routing.choice import Reason
from silkline.service.details import Asked
from silkline.stores.sqlite import write_ahead

DAY, HOUR = 86_400, 3_600
TTL = HOUR
MODEL = "shop-vlm@4f1c2a9b7d3e5f60"
CATALOGUE = 900
OUTAGE_DAY, FLIP_DAY, DRIFT_DAY = 16, 23, 25
SETTINGS = """
[history]
history_file = "requests.sqlite"
history_ttl = 5356800
history_count = 1000000

[experimenting]
experiment_file = "experiments.sqlite"

[drift]
drift_journal = "drift.sqlite"

[engine]
workers = 2
max_batch = 4

[slo]
slo_latency_seconds = 1.5
slo_first_token_seconds = 0.8

[monitoring]
machine_price = 0.42
"""


@dataclass
class Shop:
    """Asks about a catalogue, and remembers what the cache holds."""

    draw: Random
    begin: float
    number: int = 0

    def __post_init__(self) -> None:
        self.cached: dict[int, float] = {}

    def day(self, day: int, requests: int, growth: float) -> Iterator[Entry]:
        """The requests of a day, by their time."""
        count = round(requests * (1 + growth * day))
        weights = [1.2 - math.cos(2 * math.pi * (hour - 3) / 24) for hour in range(24)]
        hours = self.draw.choices(range(24), weights, k=count)
        times = sorted(hour * HOUR + self.draw.random() * HOUR for hour in hours)
        # clients send a lost request again
        found = [self.request(self.begin + day * DAY + at, day) for at in times]
        lost = [one for one in found if one.status == 503]
        again = [self.request(one.at + wait, day) for one in lost for wait in (10, 25, 60)]
        yield from sorted((*found, *again), key=lambda one: one.at)

    def request(self, at: float, day: int) -> Entry:
        """A request for a product."""
        draw, self.number = self.draw, self.number + 1
        product = min(CATALOGUE - 1, int(draw.paretovariate(0.9)) - 1)
        sampled = draw.random() < 0.06
        down = day == OUTAGE_DAY and 0 <= at - self.begin - day * DAY - 14.1 * HOUR < 0.5 * HOUR
        if down and draw.random() < 0.8:
            code = draw.choice(("worker_lost", "worker_lost", "overloaded"))
            return self.entry(at, product, status=503, error=code, timeline={})
        if draw.random() < 0.004:
            return self.entry(at, product, status=400, error="image_undecodable", timeline={})
        if not sampled and at - self.cached.get(product, -math.inf) <= TTL:
            return self.entry(
                at, product, cache="hit", timeline={"cache": draw.uniform(2e-4, 1e-3)}
            )
        if not sampled:
            self.cached[product] = at
        slow = 6.0 if draw.random() < 0.004 else 1.0
        timeline = {
            "fetch": draw.lognormvariate(-3.2, 0.7) * slow,
            "decode": draw.lognormvariate(-4.2, 0.3),
            "resize": draw.lognormvariate(-6.5, 0.3),
            "queue": draw.expovariate(30),
            "prefill": draw.lognormvariate(-1.6, 0.25),
            "generate": draw.lognormvariate(-0.9, 0.3) * slow,
        }
        return self.entry(at, product, cache="bypass" if sampled else "miss", timeline=timeline)

    def entry(
        self, at: float, product: int, *, timeline: dict[str, float], cache: str = "bypass",
        status: int = 200, error: str = "",
    ) -> Entry:  # fmt: skip
        """The entry of a request for a product."""
        draw = self.draw
        seconds = math.fsum(timeline.values()) + draw.uniform(0.001, 0.004)
        engine = timeline.get("prefill", 0.0) + timeline.get("generate", 0.0)
        attempts = [
            Attempt(draw.choice("01"), Reason.LOAD, timeline.get("queue", 0.0), engine)
        ] if engine else []  # fmt: skip
        stream = bool(engine) and draw.random() < 0.3
        tokens = round(engine * 60) if engine else 24
        return Entry(
            id=f"shop-{self.number:06}", answer="" if error else f"chatcmpl-{self.number}", at=at,
            method="POST", path="/v1/chat/completions", status=status, seconds=seconds,
            tenant="shop", model=MODEL, cache=cache, error=error, reason="", timeline=timeline,
            first_token_seconds=seconds - timeline["generate"] if stream else None,
            asked=Asked(1, 84, ("url",), 128, stream, 1, 0.001),
            images=[] if error else [ImageFacts(f"product-{product}", 640 * 480, 640, 480, "jpeg")],
            pixel_budgets=(), attempts=attempts, usage=Usage(0, 0) if error else
            Usage(94 + 64, tokens, 64), finish=[] if error else ["stop"], received_bytes=420,
            sent_bytes=800, ignored=(), keyed=False,
        )  # fmt: skip


def picture(product: str) -> bytes:
    """An image of a product."""
    draw = Random(product)
    image = Image.new("RGB", (160, 120), "#f3efe6")
    colour = tuple(draw.randrange(40, 220) for _ in range(3))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((38, 26, 112, 104), draw.randrange(2, 30), fill=colour)
    pen.arc((98, 40, 138, 84), 270, 90, fill=colour, width=9)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_history(folder: Path, entries: list[Entry], end: float) -> None:
    """Writes the request history; the images of slow requests are kept."""
    settings = HistorySettings(history_ttl=10**9, history_count=10**9)
    rows = [
        (one.at, one.id, one.answer, one.tenant, one.model, one.error, one.seconds,
         msgspec.json.encode(one))
        for one in entries
    ]  # fmt: skip
    slowest = sorted((one for one in entries if one.images), key=lambda one: -one.seconds)[:60]
    contents = [
        Packed(
            one.id, one.at, "shop", 4e9, b"{}", (one.images[0].digest,),
            (File(one.images[0].digest, "image/png", picture(one.images[0].digest)),),
        )
        for one in slowest
    ]  # fmt: skip
    with closing(sqlite3.connect(folder / "requests.sqlite", isolation_level=None)) as file:
        write_ahead(file, 1)
        file.executescript(history.SCHEMA)
        history.write(file, rows, contents, settings, end)


async def write_experiment(folder: Path, entries: list[Entry], draw: Random) -> None:
    """Writes an experiment that ends in a promotion, with feedback on a third of its requests."""
    journal = ExperimentJournal(str(folder / "experiments.sqlite"))
    settings = ExperimentSettings(model="shop-vlm", candidate="shop-vlm-int8").model_dump_json()
    answered = [one for one in entries if not one.error]
    first, last = answered[0].at, answered[-1].at
    seen = [
        Observation(one.id, one.tenant, draw.choice((Arm.CONTROL, Arm.CANDIDATE)), one.cache,
                    failed=False, seconds=one.seconds, size=84, at=one.at)
        for one in answered[:: 2]
    ]  # fmt: skip
    steps = ((Serving.SPLIT, 0.05, 0.1, "The experiment begins."),
             (Serving.SPLIT, 0.5, 0.3, "Every requirement is met."),
             (Serving.CANDIDATE, 1.0, 0.7, "Every requirement is met."))  # fmt: skip
    for number, (serving, share, when, reason) in enumerate(steps):
        at = first + when * (last - first)
        await journal.decide(
            "int8", settings, Decision(serving, share, "evidence", reason, "{}", at), number
        )
    for start in range(0, len(seen), 500):
        await journal.observe("int8", seen[start : start + 500])
    for one in seen[::3]:
        value = 1.0 if draw.random() < 0.93 else 0.0
        await journal.reward(one.request, one.tenant, value, one.at + 60)
    await journal.aclose()


async def write_drift(folder: Path, month: Month, draw: Random, *, quiet: bool) -> None:
    """Writes canary runs and windows of traffic; in a quiet month nothing changes or drifts."""
    journal = DriftJournal(str(folder / "drift.sqlite"))
    for hour in range(0, round((month.end - month.begin) / HOUR), 6):
        at, day = month.begin + hour * HOUR, hour // 24
        flipped = not quiet and day == FLIP_DAY and hour % 24 >= 12
        replies = tuple(
            Reply(f"item-{number}", "changed" if flipped and number < 3 else "same", "red mug",
                  "red cup" if flipped and number < 3 else "", float(number > 0 and not (
                      flipped and number < 3)))
            for number in range(20)
        )  # fmt: skip
        score = sum(reply.score or 0 for reply in replies) / len(replies)
        await journal.add_run(Run("shop-vlm", MODEL, at, 14.2, "exact_match", score, replies), {})
        look = (
            draw.uniform(0.4, 0.7) if day >= DRIFT_DAY and not quiet else draw.uniform(0.02, 0.08)
        )
        findings = {
            "look": Finding(look, 0.25, 900, (("7", 0.06, 0.31),)),
            "answer_length": Finding(draw.uniform(0.01, 0.06), 0.25, 900, (("24", 0.1, 0.12),)),
        }
        await journal.add_window(Window("shop-vlm", at, at + 6 * HOUR - 1, 900, findings))
    await journal.aclose()


def write_log(folder: Path, begin: float) -> None:
    """Writes what a server logs in the outage."""
    at = begin + OUTAGE_DAY * DAY + 14.1 * HOUR
    lines = (
        (20, "warning", "worker 0 ended: killed by signal 9 (out of memory?)"),
        (24, "warning", "worker 1 ended: killed by signal 9 (out of memory?)"),
        (31, "error", "no replica of shop-vlm accepts requests"),
        (1690, "info", "worker 0 is ready"),
        (1702, "warning", "replica 1 restored after 3 trial requests"),
    )
    with (folder / "silkline.log").open("w", encoding="utf-8") as file:
        for seconds, level, message in lines:
            moment = datetime.fromtimestamp(at + seconds, UTC).isoformat()
            event = {"@timestamp": moment, "log.level": level, "message": message}
            file.write(json.dumps(event) + "\n")


def write_month(folder: Path, month: Month, requests: int, seed: int = 0) -> None:
    """Writes the records of a month and the month before, with so many requests on the first day.

    Args:
        folder: An existing folder.
        month: The month.
        requests: Requests of its first day.
        seed: Of the draws.
    """
    draw = Random(seed)
    entries: list[Entry] = []
    for one, share, growth in ((month.before, 0.8, 0.004), (month, 1.0, 0.012)):
        shop = Shop(draw, one.begin, len(entries))
        for day in range(round((one.end - one.begin) / DAY)):
            entries += shop.day(day, round(requests * share), growth)
    write_history(folder, entries, month.end)
    asyncio.run(_write_journals(folder, month, entries, draw))
    write_log(folder, month.begin)
    (folder / "silkline.toml").write_text(SETTINGS, encoding="utf-8")


async def _write_journals(folder: Path, month: Month, entries: list[Entry], draw: Random) -> None:
    await write_experiment(folder, [one for one in entries if one.at >= month.begin], draw)
    for one in (month.before, month):
        await write_drift(folder, one, draw, quiet=one is not month)


def main() -> None:
    """Writes the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--month", default="2026-11")
    parser.add_argument("--requests", type=int, default=400, help="requests of the first day")
    parser.add_argument("-o", "--out", type=Path, default=Path("recorded"))
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    write_month(given.out, Month.parse(given.month), given.requests)
    print(f"Wrote {given.out}. Now: cd {given.out}; silkline review --month {given.month} "
          "--log silkline.log")  # fmt: skip


if __name__ == "__main__":
    main()
