"""Leads every case through Silkline's whole path and through transformers, and compares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from silkline.core import Image, Message, PixelBudget, Request, Sampling
from silkline.engines.probe import Prober, Showing
from silkline.errors import SilklineError
from silkline.evaluate.contract.case import Case
from silkline.evaluate.contract.compare import (
    as_image,
    compare_first_token,
    compare_image_tokens,
    compare_images,
    compare_pixels,
    compare_prompt,
    hidden_pixels,
)
from silkline.evaluate.contract.expected import Expected, Untaken
from silkline.evaluate.contract.results import Outcome, Row, Stage, Tolerance, Verdict

if TYPE_CHECKING:
    from silkline.evaluate.contract.reference import Reference

UNREDUCED = PixelBudget(max_pixels=10**9)
"""A budget that leaves every picture as it came."""

_FRACTION = 4
"""From here on, JPEGs are decoded at a fraction of their size (`ingress.normalise`)."""

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Brought:
    """A question once its pictures are there.

    Attributes:
        messages: The conversation.
        images: The pictures that it points at.
    """

    messages: tuple[Message, ...]
    images: tuple[Image, ...] = field(repr=False)


class Path(Protocol):
    """The way of a question to the engine, from what a client sends."""

    async def bring(self, case: Case, budget: PixelBudget) -> Brought:
        """Reads a client's question, decodes, normalises and reduces its pictures.

        Raises:
            SilklineError: The question is refused.
        """


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared.

    Attributes:
        path: Silkline's way to the engine.
        prober: The engine.
        budget: The engine's: how large a picture is of use to it.
        reference: transformers.
        tolerance: How far apart they may be.
    """

    path: Path
    prober: Prober
    budget: PixelBudget
    reference: Reference
    tolerance: Tolerance


async def check_cases(
    cases: Sequence[Case], sides: Sides, on_progress: Callable[[int], None] = lambda _: None
) -> list[Row]:
    """Compares the cases in order, one row each; calls `on_progress` with the number done."""
    rows = []
    for case in cases:
        rows.append(await _check(case, sides))
        on_progress(len(rows))
    return _settled(cases, rows, sides.tolerance.share)


async def _check(case: Case, sides: Sides) -> Row:
    try:
        truth = await asyncio.to_thread(sides.reference.truth, case)
    except Untaken as error:
        return _refused(case, f"transformers takes none such: {error}", broken=False)
    try:
        whole = await sides.path.bring(case, UNREDUCED)
        reduced = await sides.path.bring(case, sides.budget)
        shown = await sides.prober.show(_request(case, reduced))
    except SilklineError as error:
        return _refused(case, f"refused: {error.message}", broken=True)
    stages = await asyncio.to_thread(_compare, case, sides, truth, (whole, reduced), shown)
    broken = any(outcome.verdict is Verdict.BROKEN for outcome in stages.values())
    return Row(case=case.name, title=case.title, stages=stages, broken=broken)


def _settled(cases: Sequence[Case], rows: Sequence[Row], share: float) -> list[Row]:
    """Forgives first tokens that only rounded weights can have changed, where most cases hold.

    Prompts of several pictures count apart: they are few, and the others would outvote what goes
    wrong with them only.
    """
    forgiven: set[str] = set()
    for several in (False, True):
        kind = {case.name for case in cases if (len(case.images) > 1) is several}
        seen = [row for row in rows if row.case in kind and _saw_the_same(row)]
        held = sum(row.stages[Stage.FIRST_TOKEN].verdict is Verdict.HELD for row in seen)
        if held >= share * len(seen):
            forgiven.update(row.case for row in seen)
    return [row if row.case in forgiven else _unforgiven(row) for row in rows]


def _saw_the_same(row: Row) -> bool:
    """Whether the engine took the reference's pixels and token ids, for all that is seen."""
    before = [outcome for stage, outcome in row.stages.items() if stage is not Stage.FIRST_TOKEN]
    return bool(before) and all(outcome.verdict is Verdict.HELD for outcome in before)


def _unforgiven(row: Row) -> Row:
    first = row.stages.get(Stage.FIRST_TOKEN)
    if first is None or first.verdict is not Verdict.ROUNDED:
        return row
    stages = {**row.stages, Stage.FIRST_TOKEN: replace(first, verdict=Verdict.BROKEN)}
    return replace(row, stages=stages, broken=True)


def _compare(
    case: Case, sides: Sides, truth: Expected, brought: tuple[Brought, Brought], shown: Showing
) -> dict[Stage, Outcome]:
    whole, reduced = brought
    reference, tolerance = sides.reference, sides.tolerance
    allowed = (tolerance.maximum, tolerance.mean)
    if case.has_jpeg and _shrunk(whole, reduced) >= _FRACTION:
        allowed = (tolerance.scaled_maximum, tolerance.scaled_mean)
    try:
        reread = reference.read(case, [as_image(image) for image in reduced.images])
        reduction = compare_pixels(reread.pixels, truth, reference, allowed)
    except Untaken as error:
        told = f"transformers takes none such: {error}"
        reread = truth
        reduction = Outcome(verdict=Verdict.BROKEN, cell="refused", told=told)
    return {
        Stage.IMAGE: compare_images(whole.images, truth),
        Stage.REDUCTION: reduction,
        Stage.PIXELS: hidden_pixels(shown)
        if shown.pixels is None
        else compare_pixels(shown.pixels, truth, reference, allowed),
        Stage.IMAGE_TOKENS: compare_image_tokens(shown, truth, reference.image_token),
        Stage.PROMPT: compare_prompt(shown, truth),
        # Of the picture as it is after a reduction that is within what is allowed.
        Stage.FIRST_TOKEN: compare_first_token(shown, reread, reference, tolerance),
    }


def _shrunk(whole: Brought, reduced: Brought) -> float:
    """How many times as wide the pictures came as the engine gets them, the least of them."""
    pairs = zip(whole.images, reduced.images, strict=True)
    return min(before.width / after.width for before, after in pairs)


def _request(case: Case, brought: Brought) -> Request:
    return Request(
        id=f"contract-{case.name}",
        messages=brought.messages,
        images=brought.images,
        sampling=Sampling(max_tokens=1),
        timeout_seconds=_SECONDS,
        stream=False,
    )


def _refused(case: Case, why: str, *, broken: bool) -> Row:
    return Row(case=case.name, title=case.title, refused=why, broken=broken)
