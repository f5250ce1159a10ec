"""`silkline bench --mlperf`: MLPerf's scenarios and score on a data set of the user's own."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from silkline.bench.mlperf import QUALITY, Outcome, Scenario, offline, server
from silkline.bench.record import Run
from silkline.bench.report.mlperf import DIFFERENCES, mlperf_page
from silkline.bench.session import Step, model_of, run_bench
from silkline.bench.spec import Arrivals, Spec
from silkline.cli.printing import print_notice
from silkline.cli.progress import ProgressBar
from silkline.errors import EXIT
from silkline.evaluate.dataset_location import find_set
from silkline.evaluate.datasets import Dataset, load_dataset
from silkline.evaluate.item import ImageKind, Item
from silkline.evaluate.metrics.paths import catalogue_f1
from silkline.service.evaluation import EvaluationPlan, evaluated
from silkline.service.results import write_results
from silkline.service.subject import parse_subject

PAGE, FIGURES = "mlperf.html", "mlperf.json"

_CLIENTS = 64
"""Requests in flight offline, unless --clients says another number."""

_NO_CACHE = {"cache-control": "no-store"}


def run_mlperf(
    spec: Spec, options: dict[str, Any], bar: ProgressBar, shown: Callable[[Step], None]
) -> None:
    """Runs the scenarios and the score, prints and writes the results.

    Exits with 1 if it is not a valid run.
    """
    dataset = load_dataset(find_set(options["mlperf"], os.environ))
    seconds: float = options["seconds"]
    with tempfile.TemporaryDirectory(prefix="silkline-mlperf-") as name:
        requests = _requests(dataset.items, Path(name))
        uncached = tuple(
            msgspec.structs.replace(target, headers=target.headers | _NO_CACHE)
            for target in spec.targets
        )
        traffic = msgspec.structs.replace(spec.traffic, requests=str(requests), rounds=True)
        spec = msgspec.structs.replace(spec, targets=uncached, traffic=traffic, warm=0)

        async def play(arrivals: Arrivals) -> Run:
            return await run_bench(msgspec.structs.replace(spec, arrivals=arrivals), shown)

        async def scenarios() -> tuple[str, list[Outcome]]:
            samples, seed = len(dataset.items), options["seed"]
            model = await model_of(spec.targets[0], spec.traffic)
            first = await offline(play, seconds, samples, options["clients"] or _CLIENTS, seed)
            outcomes = [first]
            for one in options["scenarios"]:
                if one != Scenario.OFFLINE.value:
                    highest = first.per_second or 1.0
                    outcomes.append(
                        await server(Scenario(one), play, seconds, samples, highest, seed)
                    )
            return model, outcomes

        model, outcomes = uvloop.run(scenarios())
    scores = uvloop.run(_scores(spec, dataset, options, bar))
    _report(spec.targets[0].url, model, dataset, outcomes, scores, options)


async def _scores(
    spec: Spec, dataset: Dataset, options: dict[str, Any], bar: ProgressBar
) -> list[float]:
    """The hierarchical F1 of the server, and of the reference if one is named."""
    key = f" key_env={options['key_env']}" if options["key_env"] else ""
    model = f" model={spec.traffic.model}" if spec.traffic.model else ""
    names = [f"{spec.targets[0].url}{key}{model}"]
    names += [options["reference"]] if options["reference"] else []
    parse = partial(parse_subject, config=None, flags={}, max_tokens=spec.traffic.max_tokens)
    subjects = tuple(parse(name) for name in names)
    plan = EvaluationPlan(subjects, dataset, (), options["out"], options["seed"])
    found = await evaluated(
        plan, lambda what, step: bar.show(what, step.done, step.total), print_notice
    )
    return [
        catalogue_f1(dataset.items, [reply.answer for reply in side.replies])
        for side in found.sides
    ]


def _requests(items: Sequence[Item], folder: Path) -> Path:
    """Writes the file of requests that the load generator reads."""
    lines = []
    for number, item in enumerate(items):
        image = item.image.text
        if item.image.kind is ImageKind.BASE64:
            image = str(folder / f"{number}")
            Path(image).write_bytes(base64.b64decode(item.image.text))
        lines.append(msgspec.json.encode({"picture": image, "prompt": item.prompt}))
    file = folder / "requests.jsonl"
    file.write_bytes(b"\n".join(lines))
    return file


def _report(
    url: str,
    model: str,
    dataset: Dataset,
    outcomes: Sequence[Outcome],
    scores: Sequence[float],
    options: dict[str, Any],
) -> None:
    reasons = [(one.scenario.value, why) for one in outcomes for why in one.invalid]
    if len(scores) == 1:
        reasons.append(("score", "no reference was asked; name one by --reference"))
    elif scores[0] < QUALITY * scores[1]:
        reasons.append(("score", f"{scores[0]:.4f} is less than 99% of {scores[1]:.4f}"))
    figures = {
        "url": url,
        "model": model,
        "dataset": dataset.name,
        "digest": dataset.digest,
        "samples": len(dataset.items),
        "scenarios": outcomes,
        "hierarchical_f1": scores[0],
        "reference_f1": scores[1] if len(scores) > 1 else None,
        "invalid": reasons,
        "differences": DIFFERENCES,
    }
    page = mlperf_page(url, model, dataset.name, len(dataset.items), outcomes, scores, reasons)
    folder: Path = options["out"]
    write_results(folder, {FIGURES: figures}, {PAGE: page})
    if options["as_json"]:
        click.echo(msgspec.json.encode(figures))
    else:
        for one in outcomes:
            click.echo(
                f"{one.scenario.value:<12} {one.per_second:8.2f}/s   P99 {one.p99:.3f} s   "
                f"{one.requests} requests, {one.failed} failed"
            )
        click.echo(f"{'score':<12} {scores[0]:8.4f}     hierarchical F1")
        for part, why in reasons:
            click.echo(f"not a valid run: {part}: {why}")
        click.echo(f"\nWrote {folder / PAGE} and {FIGURES}")
    if reasons:
        sys.exit(EXIT.failed)
