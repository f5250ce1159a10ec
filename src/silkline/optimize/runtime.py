"""An optimisation for the engine torch: the attention, type and threads that are fastest here.

Every candidate serves the user's images as `silkline up` would, in a process of its own, and
answers under load; its rate, time to first token and peak memory are the findings, and the fastest
one's options go into the manifest. The engine's own choices are a candidate too.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import PIL.Image

from silkline.bench.session import run_bench
from silkline.bench.spec import Arrivals, Spec, Traffic
from silkline.bench.summary import summarise
from silkline.config import EngineSettings, Settings
from silkline.core import Image
from silkline.engines.accelerators import has_gpu
from silkline.engines.processor import features
from silkline.engines.threads import usable_cores
from silkline.errors import EnvironmentFault
from silkline.models.bundle import Bundle, EngineWeights
from silkline.optimize.optimisation import Optimisation, Work
from silkline.service.served import served
from silkline.service.subject import SubjectSpec

_ENGINE = "torch"
_LAST = 100
_CLIENTS = 4
_SECONDS = 8.0
_TOKENS = 32
_IMAGES = 64
_WARM = 8
_QUESTION = "Describe this image."
_WORTH = 1.03
"""A candidate must be faster by this factor than what the engine chooses by itself."""


class Trial(msgspec.Struct, frozen=True):
    """A candidate and what was measured.

    Attributes:
        options: Options of the engine.
        threads: Compute threads; 0 lets the engine choose.
        rate: Answers per second; 0 if it does not serve here.
        first_token: Median time to first token, in seconds.
        memory: Peak memory of the engine's processes, in bytes; None if it is unknown.
        failure: Why it does not serve here; empty if it does.
    """

    options: dict[str, str]
    threads: int
    rate: float = 0.0
    first_token: float = 0.0
    memory: int | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A choice: the alternatives to what is best so far, which differ in one respect."""

    options: tuple[dict[str, str], ...] = ()
    threads: tuple[int, ...] = ()


def steps() -> tuple[Step, ...]:
    """The choices on this machine, one after the other."""
    halves = has_gpu() or not features().isdisjoint({"avx512_bf16", "amx_bf16"})
    cores = usable_cores()
    return (
        Step(options=({"attention": "sdpa"}, {"attention": "eager"})),
        Step(options=({"dtype": "bfloat16"},) if halves else ()),
        Step(threads=tuple(sorted({cores, max(1, cores // 2)}))),
    )


def search(choices: Sequence[Step], measure: Callable[[Trial], Trial]) -> list[Trial]:
    """Measures what the engine chooses, then each choice with the best so far.

    Returns:
        All trials, the best one first. What the engine chooses by itself stays the best unless
        another one is faster by more than noise.
    """
    trials = [measure(Trial({}, 0))]
    best = trials[0]
    for step in choices:
        tried = [
            msgspec.structs.replace(best, options=best.options | more) for more in step.options
        ]
        tried += [msgspec.structs.replace(best, threads=count) for count in step.threads]
        found = [measure(Trial(each.options, each.threads)) for each in tried]
        trials += found
        best = max([best, *(each for each in found if each.rate > _WORTH * best.rate)],
                   key=lambda each: each.rate)  # fmt: skip
    return [best, *(each for each in trials if each is not best)]


def _apply(work: Work) -> EngineWeights:
    with tempfile.TemporaryDirectory(prefix="silkline-runtime-") as folder:
        requests = _write_requests(work.images[:_IMAGES], Path(folder))
        trials = search(steps(), lambda trial: asyncio.run(_measured(work.folder, trial, requests)))
    best = trials[0]
    if best.failure:
        raise RuntimeError(best.failure)
    work.findings["trials"] = msgspec.to_builtins(trials)
    return msgspec.structs.replace(
        work.weights, options=work.weights.options | best.options, threads=best.threads
    )


def _write_requests(images: Sequence[Image], folder: Path) -> Path:
    path = folder / "requests.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number, image in enumerate(images):
            shown = folder / f"{number}.png"
            size = image.width, image.height
            PIL.Image.frombytes("RGB", size, image.pixels).save(shown, compress_level=1)
            file.write(json.dumps({"picture": str(shown), "prompt": _QUESTION}) + "\n")
    return path


async def _measured(folder: Path, trial: Trial, requests: Path) -> Trial:
    """Serves a candidate and loads it; a candidate that does not serve says why."""
    engine = EngineSettings(
        model=str(folder), engine=_ENGINE, engine_options=trial.options, threads=trial.threads
    )
    subject = SubjectSpec("the candidate", Settings(engine=engine), _TOKENS, 0)
    traffic = Traffic(requests=str(requests), zipf=0.0, max_tokens=_TOKENS, stream=True)
    try:
        async with served(subject, "candidate") as up:
            spec = Spec(
                targets=(up.target,),
                arrivals=Arrivals(1.0, _SECONDS, clients=_CLIENTS),
                traffic=traffic,
                warm=_WARM,
            )
            figures = summarise(await run_bench(spec), 0, _SECONDS)
            memory = up.peak_bytes()
    except EnvironmentFault as error:
        return msgspec.structs.replace(trial, failure=error.message)
    return msgspec.structs.replace(
        trial,
        rate=figures.served / figures.seconds,
        first_token=figures.first_token.p50,
        memory=memory,
    )


def _why_not(bundle: Bundle) -> str:
    entry = bundle.manifest.engines[_ENGINE]
    return "its options are chosen already" if entry.options or entry.threads else ""


RUNTIME = Optimisation(
    "runtime",
    "the attention, type and threads that are fastest here, measured on your images",
    _ENGINE,
    _why_not,
    _apply,
    ("torch",),
    needs_images=True,
    parts=frozenset({"runtime"}),
    order=_LAST,
)
