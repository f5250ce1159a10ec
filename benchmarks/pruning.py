"""Fewer image tokens: what each method costs in quality, and what it gains in prefill.

    python -m benchmarks.pruning

Quality: the bundled model is asked about held-out images that `recipes.mini` draws, unpruned and
with every method, at numbers of tokens that scaled-down images can have too, and at half. Prefill:
the torch engine with a model of the layout of `benchmarks.engines`, whose images take 576 tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.machine import machine, versions
from benchmarks.options import ROOT
from benchmarks.pruning_prefill import Prefill, measure_prefill, prefill_table
from benchmarks.report import command_line, today, write_report
from recipes.mini.questions import draw_pair
from recipes.mini.render import render
from recipes.mini.scene import TEST_SEEDS, generator, sample_scene
from silkline.core import Image, ImagePart, Message, Request, Role, Sampling, TextPart
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import engine_spec
from silkline.evaluate.margin import drop_of
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.pruning import Method, Pruning
from silkline.models.resolve import bundled_folder
from silkline.optimize.build import build
from silkline.optimize.optimisation import Optimisation
from silkline.optimize.pruning import downsampling_optimisation, pruning_optimisation

SKIPPED = 2064
"""Scenes of the test split that the recipe's own evaluation and the shipped set have used."""

KINDS = ("category", "colour", "pattern", "label", "yes_no", "describe")
SIZES = (96, 128, 192)
TOKENS = 64
KEPT = (49, 36, 32, 25, 16)
"""Tokens left of 64. All but 32 are squares, which scaled-down images can have."""

AT_ONCE = 16
DOWNSAMPLE = "downsample"
BASELINES = (DOWNSAMPLE, str(Method.RANDOM))


class Item(msgspec.Struct, frozen=True):
    """A question with its right answer."""

    image: int
    kind: str
    question: str
    answer: str

    @property
    def slices(self) -> tuple[str, ...]:
        """The slices it belongs to."""
        small = self.kind == "label" and self.answer != "no label"
        absent = self.answer in {"no", "no label"}
        found = {"small text": small, "absence": absent, "long answers": self.kind == "describe"}
        return ("all", *(name for name, inside in found.items() if inside))


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """How a method did at a number of tokens.

    Attributes:
        method: The method; "none" keeps all tokens.
        tokens: Image tokens of an image, from `usage`.
        right: Share of right answers by slice.
        drop: Points lost against all tokens, with the limits of its 95% interval.
        useless: The baselines of as many tokens that have more right answers.
    """

    method: str
    tokens: int
    right: dict[str, float]
    drop: tuple[float, float, float]
    useless: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that one run found."""

    command: str
    date: str
    engine: str
    images: int
    items: dict[str, int]
    machine: dict[str, str]
    versions: dict[str, str]
    arms: list[Arm]
    prefill: list[Prefill]


def questions(count: int) -> tuple[list[Image], list[Item]]:
    """Held-out images and questions about them, the same in every run."""
    images, items = [], []
    for number, seed in enumerate(TEST_SEEDS[SKIPPED : SKIPPED + count]):
        scene = sample_scene(seed)
        pixels = np.ascontiguousarray(render(scene, SIZES[number % len(SIZES)]).picture)
        height, width, _ = pixels.shape
        images.append(Image(width, height, pixels.tobytes(), f"scene-{seed}"))
        for kind in KINDS:
            question, answer = draw_pair(kind, scene, generator(seed, 9))
            items.append(Item(number, kind, question, answer))
    return images, items


def candidates(engine: str) -> list[tuple[str, Optimisation]]:
    """Each method at each number of tokens."""
    found: list[tuple[str, Optimisation]] = []
    for kept in KEPT:
        share = kept / TOKENS
        found += [
            (str(each), pruning_optimisation(engine, Pruning(each, share))) for each in Method
        ]
        if round(kept**0.5) ** 2 == kept:
            found.append((DOWNSAMPLE, downsampling_optimisation(engine, share)))
    return found


async def answers(
    bundle: Bundle, engine: str, images: Sequence[Image], items: Sequence[Item]
) -> tuple[list[str], int]:
    """The answers to all items, and the tokens that each image took."""
    options = EngineOptions(model=bundle.folder, max_batch=AT_ONCE)
    served = engine_spec(engine).create(options)
    await served.start()
    room = asyncio.Semaphore(AT_ONCE)
    try:
        asked = (_ask(served, room, images[item.image], item) for item in items)
        found = await asyncio.gather(*asked)
    finally:
        await served.aclose()
    counts = {tokens for _, tokens in found}
    if len(counts) != 1:
        raise RuntimeError(f"images of one model took different numbers of tokens: {counts}")
    return [text for text, _ in found], counts.pop()


async def _ask(
    engine: Engine, room: asyncio.Semaphore, image: Image, item: Item
) -> tuple[str, int]:
    message = Message(Role.USER, (ImagePart(0), TextPart(item.question)))
    request = Request("bench", (message,), (image,), Sampling(max_tokens=48), 600.0)
    text, tokens = "", 0
    async with room, aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            text += delta.text
            if delta.usage is not None:
                tokens = delta.usage.image_tokens
    return text.strip(), tokens


def arm_of(
    method: str, tokens: int, right: Sequence[bool], base: Sequence[bool], items: Sequence[Item]
) -> Arm:
    """Scores a method's answers against those with all tokens."""
    shares: dict[str, list[bool]] = defaultdict(list)
    for item, hit in zip(items, right, strict=True):
        for name in item.slices:
            shares[name].append(hit)
    losses = [float(before) - float(after) for before, after in zip(base, right, strict=True)]
    drop = drop_of(losses, [item.image for item in items])
    low, high = drop.interval(0.975)
    return Arm(
        method=method,
        tokens=tokens,
        right={name: sum(hits) / len(hits) for name, hits in shares.items()},
        drop=(100 * drop.value, 100 * low, 100 * high),
    )


def judged(arms: Sequence[Arm]) -> list[Arm]:
    """Names the baselines of as many tokens to which each method loses."""
    found = []
    for arm in arms:
        rivals = [each for each in arms if each.tokens == arm.tokens and each.method in BASELINES]
        beaten = [each for each in rivals if each.right["all"] > arm.right["all"]]
        own = arm.method in BASELINES or arm.tokens == TOKENS
        names = () if own else tuple(each.method for each in beaten)
        found.append(msgspec.structs.replace(arm, useless=names))
    return found


async def measure_quality(engine: str, count: int) -> tuple[list[Arm], list[Item]]:
    """Asks the bundled model with all tokens, then with each method."""
    images, items = questions(count)
    base = load_bundle(bundled_folder())
    arms: list[Arm] = []
    with tempfile.TemporaryDirectory() as folder:
        unpruned: list[bool] = []
        for method, change in [("none", None), *candidates(engine)]:
            bundle = base
            if change is not None:
                target = Path(folder, change.name)
                bundle = build(base, [change], target, [], None, lambda _: None)
            texts, tokens = await answers(bundle, engine, images, items)
            right = [text == item.answer for text, item in zip(texts, items, strict=True)]
            unpruned = unpruned or right
            arms.append(arm_of(method, tokens, right, unpruned, items))
            print(f"{method} {tokens}: {arms[-1].right['all']:.3f}", flush=True)
    return judged(arms), items


def markdown(report: Report) -> str:
    """The report for people."""
    slices = list(report.items)
    lines = ["# Fewer image tokens", "", f"`{report.command}`", ""]
    for group in (report.machine, report.versions):
        lines += [f"- {name}: {value}" for name, value in group.items()]
    lines += ["", f"## Quality, silkline-mini, engine {report.engine}", ""]
    counts = ", ".join(f"{name} {number}" for name, number in report.items.items())
    lines.append(f"{report.images} images; questions: {counts}. An answer is right if it is exact.")
    lines.append("Points lost are against all tokens, with their 95% interval, images as clusters.")
    lines += ["", f"| tokens | method | {' | '.join(slices)} | points lost | useless: loses to |"]
    lines.append("|---" * (len(slices) + 4) + "|")
    for arm in report.arms:
        shares = " | ".join(f"{100 * arm.right.get(name, 0):.1f}%" for name in slices)
        drop = f"{arm.drop[0]:.1f} ({arm.drop[1]:.1f} to {arm.drop[2]:.1f})"
        useless = ", ".join(arm.useless) or ("baseline" if arm.method in BASELINES else "no")
        last = "" if arm.method == "none" else useless
        lines.append(f"| {arm.tokens} | {arm.method} | {shares} | {drop} | {last} |")
    return "\n".join([*lines, "", *prefill_table(report.prefill)]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="openvino", choices=("openvino", "torch"))
    parser.add_argument("--images", type=int, default=300, help="images; 0 skips the quality")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of prefill; 0 skips it")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    arms, items = (
        asyncio.run(measure_quality(arguments.engine, arguments.images))
        if arguments.images
        else ([], [])
    )
    counted: dict[str, int] = defaultdict(int)
    for item in items:
        for name in item.slices:
            counted[name] += 1
    report = Report(
        command=command_line("pruning"),
        date=today(),
        engine=arguments.engine,
        images=arguments.images,
        items=dict(counted),
        machine=machine(),
        versions=versions(),
        arms=arms,
        prefill=asyncio.run(measure_prefill(arguments.rounds)) if arguments.rounds else [],
    )
    text = markdown(report)
    write_report(report, text, arguments.results, "silkline-mini", report.date, "pruning")
    print(text)


if __name__ == "__main__":
    main()
