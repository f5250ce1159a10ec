"""Two canaries that decide by themselves: a worse candidate is rolled back, a good one promoted.

Each run starts `silkline up` with the bundled model and an experiment. Clients ask for the record
of held-out images that the recipe draws, compare each answer with the truth, and send that as
feedback. Once on the way the gateway is killed and started again.

- `worse`: the candidate is the same model with images reduced to 24 x 24 pixels, at 5%.
- `int8`: the model is served in FP32 by PyTorch, the candidate in INT8 by OpenVINO.

    python -m benchmarks.canary [--run worse|int8|both] [--seconds 280] [--pictures 600]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil

from benchmarks.machine import machine, versions
from benchmarks.options import base_parser
from benchmarks.processes import BenchmarkError, free_port, leave, next_line, started
from benchmarks.report import command_line, today, write_report
from recipes.mini.evaluation_set import write_set
from silkline.experiments.report import page

_SHIPPED = 64
"""Scenes of the test split that lie in the package; these are left out."""

_NAME = "canary"
_OK = 200
_AFTER = 20
"""Requests that show who answers after the decision."""

_PAUSE_SECONDS, _LOOK_SECONDS = 0.2, 1.0

_SHARED = """
[admin]
admin_without_keys = "loopback"

[experimenting]
experiment_file = "{folder}/experiments.sqlite"

[experiments.canary]
unit = "request"
model = "shop"
reward_margin = 0.1
max_failures = 0.02
latency_margin = 0.25
planned_requests = 1500
step_requests = 100
"""
_RUNS = {
    "worse": """
candidate = "shop"
ramp = [0.05, 0.25, 0.5]
changes = { max_pixels = 576 }

[models.shop]
model = "silkline-mini"
engine = "openvino"
""",
    "int8": """
candidate = "shop-int8"
ramp = [0.25, 0.5]

[models.shop]
model = "silkline-mini"
engine = "torch"

[models.shop-int8]
model = "silkline-mini"
engine = "openvino"
""",
}
_EXPECTED = {"worse": "model", "int8": "candidate"}


class Moment(msgspec.Struct, frozen=True):
    """What happened, and when.

    Attributes:
        seconds: Since the first request.
        answered: Answers until then, of all arms.
        what: In words.
    """

    seconds: float
    answered: int
    what: str


class Run(msgspec.Struct, frozen=True):
    """One run from start to end.

    Attributes:
        name: Which one.
        settings: The server's settings file.
        timeline: What happened.
        served: Who answers in the end: `model` or `candidate`.
        as_expected: Whether that is right, and the evidence decided it.
        answered: Answers of all arms until the decision.
        failed: Requests that got a response other than 200.
        repeated: Requests without a response, which were sent again: those of the kill.
        lost: Requests that never got an answer.
        after: Answers after the decision by who gave them.
        experiment: The experiment as the admin API shows it in the end.
    """

    name: str
    settings: str
    timeline: list[Moment]
    served: str
    as_expected: bool
    answered: int
    failed: int
    repeated: int
    lost: int
    after: Mapping[str, int]
    experiment: Mapping[str, Any]


class Report(msgspec.Struct, frozen=True):
    """Everything that was found."""

    date: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    runs: list[Run]


class Clients:
    """Clients that know the truth; each waits for its answer, and repeats a lost request."""

    def __init__(self, url: str, pictures: Path) -> None:
        """Takes the server's address and the data set."""
        self._url = url
        rows = (pictures / "held-out.jsonl").read_text("utf-8").splitlines()
        self._items = [msgspec.json.decode(row, type=dict[str, Any]) for row in rows]
        self._bytes = {row["picture"]: (pictures / row["picture"]).read_bytes()
                       for row in self._items}  # fmt: skip
        drawn = random.Random(7)
        self._order = (item for _ in itertools.count()
                       for item in drawn.sample(self._items, len(self._items)))  # fmt: skip
        self.answered = self.failed = self.repeated = self.lost = 0
        self.stopping = asyncio.Event()

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Asks until `stopping` is set."""
        while not self.stopping.is_set():
            item = next(self._order)
            for attempt in itertools.count():
                with suppress(aiohttp.ClientError, TimeoutError):
                    await self.ask(http, item)
                    self.repeated += attempt > 0
                    break
                if self.stopping.is_set():
                    self.lost += 1
                    break
                await asyncio.sleep(_PAUSE_SECONDS)

    async def ask(self, http: aiohttp.ClientSession, item: Mapping[str, Any]) -> str:
        """Asks about a picture, sends feedback if an experiment wants it; returns who answered."""
        image = base64.b64encode(self._bytes[item["picture"]]).decode()
        parts = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image}"}},
            {"type": "text", "text": item["prompt"]},
        ]
        body = {"model": "shop", "temperature": 0, "max_tokens": 64,
                "messages": [{"role": "user", "content": parts}]}  # fmt: skip
        headers = {"cache-control": "no-store"}
        async with http.post("/v1/chat/completions", json=body, headers=headers) as response:
            found = await response.json()
            told = response.headers
        if response.status != _OK:
            self.failed += 1
            return ""
        self.answered += 1
        if "x-silkline-experiment" in told:
            answer = found["choices"][0]["message"]["content"]
            sent = {"request_id": told["x-request-id"], "accepted": _right(answer, item)}
            with suppress(aiohttp.ClientError):
                async with http.post("/v1/feedback", json=sent):
                    pass
        budget = told["x-silkline-pixel-budget"]
        return f"{told['x-silkline-model']}, at most {budget} pixels"

    async def askers(self, http: aiohttp.ClientSession) -> dict[str, int]:
        """Who answers some more requests."""
        found: dict[str, int] = {}
        for _ in range(_AFTER):
            who = await self.ask(http, next(self._order))
            found[who] = found.get(who, 0) + 1
        return found


def _right(answer: str, item: Mapping[str, Any]) -> bool:
    """Whether the whole record is right."""
    try:
        return bool(json.loads(answer) == item["reference"])
    except ValueError:
        return False


class Gateway:
    """`silkline up` on one port, which may be killed and started again."""

    def __init__(self, folder: Path, settings: str) -> None:
        """Writes the settings file."""
        self._folder = folder
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        config = folder / "silkline.toml"
        config.write_text(settings, encoding="utf-8")
        self._command = [sys.executable, "-m", "silkline", "up", "--config", str(config),
                         "--port", str(port), "--json"]  # fmt: skip
        self._starts = 0
        self._running = self._start()
        self._process = next(self._running)

    def _start(self) -> Iterator[subprocess.Popen[bytes]]:
        self._starts += 1
        log = self._folder / f"log-{self._starts}"
        with started(self._command, log) as process:
            next_line(process, log)
            yield process

    def kill(self) -> None:
        """Kills the gateway, waits until its workers have ended, and starts it again."""
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(family, timeout=30)
        self.end()
        self._running = self._start()
        self._process = next(self._running)

    def end(self) -> None:
        """Ends it; idempotent."""
        for _ in self._running:
            pass


async def _watched(gateway: Gateway, clients: Clients, arguments: argparse.Namespace) -> tuple[
    list[Moment], dict[str, Any], dict[str, int]
]:  # fmt: skip
    """Runs the clients until the experiment has decided; returns timeline, state and answerers."""
    began, timeline, is_killed = time.monotonic(), [], False
    known: list[Any] = []
    found: dict[str, Any] = {}

    def note(what: str) -> None:
        moment = Moment(round(time.monotonic() - began, 1), clients.answered, what)
        timeline.append(moment)
        print(f"{moment.seconds:7.1f} s {moment.answered:6} answers  {what}", flush=True)

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(gateway.url, timeout=timeout) as http:
        running = [asyncio.create_task(clients.run(http)) for _ in range(arguments.clients)]
        while time.monotonic() - began < arguments.seconds:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                async with http.get(f"/admin/experiments/{_NAME}") as response:
                    found = await response.json()
            except aiohttp.ClientError:  # a connection of the killed gateway
                continue
            for one in found["decisions"][len(known) :]:
                note(f"{one['serving']}, share {one['share']:.0%}, by {one['by']}: {one['reason']}")
            known = found["decisions"]
            if found["serving"] != "split":
                break
            seen = sum(arm["requests"] for arm in found["evidence"]["arms"].values())
            if not is_killed and seen >= arguments.kill_after:
                note(f"the gateway is killed; {seen} requests are in the journal")
                await asyncio.to_thread(gateway.kill)
                is_killed = True
                note("the gateway answers again")
        clients.stopping.set()
        await asyncio.gather(*running)
        after = await clients.askers(http)
    note(f"then answer: {', '.join(after)}")
    return timeline, found, after


def _run(name: str, arguments: argparse.Namespace, pictures: Path) -> Run:
    print(f"\n{name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="silkline-canary-") as folder:
        settings = _SHARED.format(folder=folder) + _RUNS[name]
        gateway = Gateway(Path(folder), settings)
        try:
            clients = Clients(gateway.url, pictures)
            timeline, found, after = asyncio.run(_watched(gateway, clients, arguments))
        finally:
            gateway.end()
    arguments.results.mkdir(parents=True, exist_ok=True)
    report = arguments.results / f"canary-{name}.html"
    report.write_text(page(found), encoding="utf-8")
    last = found["decisions"][-1]
    is_right = (last["serving"], last["by"]) == (_EXPECTED[name], "evidence")
    return Run(
        name, settings.replace(folder, "FOLDER"), timeline, found["serving"], is_right,
        clients.answered - _AFTER, clients.failed, clients.repeated, clients.lost, after, found,
    )  # fmt: skip


def main() -> None:
    """Runs the canaries, and writes what happened."""
    signal.signal(signal.SIGTERM, leave)
    arguments = _arguments()
    names = list(_RUNS) if arguments.run == "both" else [arguments.run]
    with tempfile.TemporaryDirectory(prefix="silkline-pictures-") as folder:
        pictures = Path(folder)
        write_set(pictures, arguments.pictures, skip=_SHIPPED)
        runs = [_run(name, arguments, pictures) for name in names]
    report = Report(today(), command_line("canary"), machine(), versions(), runs)
    text = "\n".join(_lines(report)) + "\n"
    path = write_report(report, text, arguments.results, "silkline-mini", report.date, "canary")
    print(f"\nwritten to {path} and .json beside it")
    wrong = [run.name for run in runs if not run.as_expected or run.lost or run.failed]
    if wrong:
        raise BenchmarkError(f"not as expected: {', '.join(wrong)}")


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# Canaries, {report.date}", "", f"    {report.command}", "")
    yield from (f"- {name}: {value}" for name, value in report.machine.items())
    for run in report.runs:
        arms = run.experiment["evidence"]["arms"]
        yield from ("", f"## {run.name}", "", "| seconds | answers | what |", "|--:|--:|---|")
        yield from (f"| {one.seconds:.1f} | {one.answered:,} | {one.what} |"
                    for one in run.timeline)  # fmt: skip
        yield from ("", "| arm | requests | failed | feedback | right |", "|---|--:|--:|--:|--:|")
        for name, arm in arms.items():
            yield (f"| {name} | {arm['requests']:,} | {arm['failures']} | {arm['rewards']:,} "
                   f"| {arm['mean_reward']:.1%} |")  # fmt: skip
        told = (
            f"Answers: {run.answered:,}; refused or failed: {run.failed}; sent again because of "
            f"the kill: {run.repeated}; lost: {run.lost}."
        )
        yield from ("", told)


def _arguments() -> argparse.Namespace:
    parser = base_parser("Two canaries that decide by themselves.")
    parser.add_argument("--run", choices=[*_RUNS, "both"], default="both")
    parser.add_argument("--seconds", type=float, default=280.0, help="maximum of each run")
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kill-after", type=int, default=60, help="requests of both arms")
    return parser.parse_args()


if __name__ == "__main__":
    main()
