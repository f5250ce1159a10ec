"""Runs every case through Silkline's full path and through transformers, and compares."""

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
"""A budget that scales no image down."""

_FRACTION = 4
"""JPEGs that are scaled down by this factor or more are decoded at a fraction of their size
(`ingress.normalise`)."""

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Brought:
    """A question with its decoded images.

    Attributes:
        messages: The conversation.
        images: The images that the messages refer to.
    """

    messages: tuple[Message, ...]
    images: tuple[Image, ...] = field(repr=False)


class Path(Protocol):
    """Silkline's path from a client's request to the engine."""

    async def bring(self, case: Case, budget: PixelBudget) -> Brought:
        """Parses a client's request, and decodes, normalises and scales its images.

        Raises:
            SilklineError: The request is refused.
        """


@dataclass(frozen=True, slots=True)
class Sides:
    """The two sides of the comparison.

    Attributes:
        path: Silkline's path to the engine.
        prober: The engine.
        budget: The engine's pixel budget for an image.
        reference: transformers.
        tolerance: The allowed differences.
    """

    path: Path
    prober: Prober
    budget: PixelBudget
    reference: Reference
    tolerance: Tolerance


async def check_cases(
    cases: Sequence[Case], sides: Sides, on_progress: Callable[[int], None] = lambda _: None
) -> list[Row]:
    """Checks the cases in order, one row each; calls `on_progress` with the number done so far."""
    rows = []
    for case in cases:
        rows.append(await _check(case, sides))
        on_progress(len(rows))
    return _settled(cases, rows, sides.tolerance.share)


async def _check(case: Case, sides: Sides) -> Row:
    try:
        truth = await asyncio.to_thread(sides.reference.truth, case)
    except Untaken as error:
        return _refused(case, f"transformers does not support it: {error}", broken=False)
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
    """Accepts first tokens that only rounded weights can have changed, if enough cases hold.

    Cases with several images are judged separately: they are few, and the others would hide faults
    that affect only them.
    """
    accepted: set[str] = set()
    for several in (False, True):
        kind = {case.name for case in cases if (len(case.images) > 1) is several}
        seen = [row for row in rows if row.case in kind and _saw_the_same(row)]
        held = sum(row.stages[Stage.FIRST_TOKEN].verdict is Verdict.HELD for row in seen)
        if held >= share * len(seen):
            accepted.update(row.case for row in seen)
    return [row if row.case in accepted else _as_broken(row) for row in rows]


def _saw_the_same(row: Row) -> bool:
    """Whether the engine's pixels and token ids, as far as visible, are the reference's."""
    before = [outcome for stage, outcome in row.stages.items() if stage is not Stage.FIRST_TOKEN]
    return bool(before) and all(outcome.verdict is Verdict.HELD for outcome in before)


def _as_broken(row: Row) -> Row:
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
        message = f"transformers does not support it: {error}"
        reread = truth
        reduction = Outcome(verdict=Verdict.BROKEN, cell="refused", told=message)
    return {
        Stage.IMAGE: compare_images(whole.images, truth),
        Stage.REDUCTION: reduction,
        Stage.PIXELS: hidden_pixels(shown)
        if shown.pixels is None
        else compare_pixels(shown.pixels, truth, reference, allowed),
        Stage.IMAGE_TOKENS: compare_image_tokens(shown, truth, reference.image_token),
        Stage.PROMPT: compare_prompt(shown, truth),
        # Compared on the image after scaling, which may differ within the tolerance.
        Stage.FIRST_TOKEN: compare_first_token(shown, reread, reference, tolerance),
    }


def _shrunk(whole: Brought, reduced: Brought) -> float:
    """The smallest factor by which the widths of the images were scaled down."""
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
        reuse_scope=None,  # what is compared is computed anew
    )


def _refused(case: Case, why: str, *, broken: bool) -> Row:
    return Row(case=case.name, title=case.title, refused=why, broken=broken)
