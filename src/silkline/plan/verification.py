"""Measures a model on this machine, as a plan predicts it: `silkline up` under a short load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from silkline.bench.drawn import SMALLEST, STEP
from silkline.bench.results import figures_json
from silkline.bench.session import Step, run_bench
from silkline.bench.spec import Arrivals, Spec, Traffic
from silkline.bench.summary import Summary, summarise
from silkline.plan.prediction import Figures, Load
from silkline.plan.workload import Workload
from silkline.service.served import Served, served
from silkline.service.subject import SubjectSpec

_IMAGES = 64
_WARM = 8
_SLO = 1.0
"""Only for the result files: nothing is judged by it."""

_MAX_LENGTHS = 2000


class Verified(msgspec.Struct, frozen=True):
    """A load and what was measured under it.

    Attributes:
        load: The load.
        figures: What a plan predicts.
        summary: All figures of the load test.
        lengths: Tokens of the computed answers, at most 2,000 of them.
        file: The load test's `summary.json`.
    """

    load: Load
    figures: Figures
    summary: Summary
    lengths: tuple[int, ...]
    file: bytes


def pixels_of(image: tuple[int, int]) -> int:
    """Width and height of the square image that the load test draws for a size."""
    edge = math.sqrt(image[0] * image[1])
    return max(SMALLEST, round(edge / STEP) * STEP)


async def measure(
    subject: SubjectSpec,
    work: Workload,
    loads: Sequence[Load],
    on_progress: Callable[[Step], None] = lambda _: None,
) -> list[Verified]:
    """Serves a model on this machine, and loads it with one load after the other.

    Args:
        subject: The model and how it is served.
        work: The requests; images are squares of about as many pixels.
        loads: The loads.
        on_progress: Called a few times per second.

    Raises:
        EnvironmentFault: The model does not start here, or does not answer.
    """
    async with served(subject, "here") as server:
        return [await _loaded(server, work, load, on_progress) for load in loads]


async def _loaded(
    server: Served, work: Workload, load: Load, on_progress: Callable[[Step], None]
) -> Verified:
    target = server.target
    if work.hit_rate:
        target = msgspec.structs.replace(target, headers={})  # which said not to use the cache
    pixels = pixels_of(work.image)
    spec = Spec(
        targets=(target,),
        arrivals=Arrivals(load.rate, load.seconds, clients=load.clients),
        traffic=Traffic(
            catalogue=_IMAGES,
            zipf=0.0,
            new=1.0 - work.hit_rate,
            pixels=pixels,
            max_tokens=work.answer_tokens,
        ),
        warm=_IMAGES if work.hit_rate else _WARM,
    )
    run = await run_bench(spec, on_progress)
    summary = summarise(run, 0, _SLO)
    answered = [record for record in run.records if record.ok]
    computed = [record for record in answered if "generate" in record.stages] or answered
    return Verified(
        load=load,
        figures=Figures(
            memory=server.peak_bytes(),
            throughput=summary.served / max(load.seconds, *(one.ended for one in answered), 1e-9),
            mean=summary.latency.mean,
            p99=summary.latency.p99,
        ),
        summary=summary,
        lengths=tuple(record.completion_tokens for record in computed[:_MAX_LENGTHS]),
        file=figures_json(run, [summary], None),
    )


def keep(found: Sequence[Verified], folder: Path) -> list[Path]:
    """Writes the load tests' figures as files for `calibration.read_measured`.

    Raises:
        OSError: They cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.json" for number in range(len(found))]
    for path, one in zip(paths, found, strict=True):
        path.write_bytes(one.file)
    return paths
