"""Stage by stage: what an engine showed against what transformers makes of the same bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from silkline.core import Image
from silkline.engines.probe import Showing
from silkline.evaluate.contract.expected import Expected
from silkline.evaluate.contract.results import Outcome, Tolerance, Verdict
from silkline.evaluate.contract.tolerances import SHARE

if TYPE_CHECKING:
    from silkline.evaluate.contract.reference import Reference

_TOP = 5
_NOTHING = 1e-9
"""Of probability: what rounding leaves where a list holds all of it."""

_LAYOUTS = {2: "patches", 4: "tiles"}
_FLOAT = 0.01
"""Of 1/255: what float32 adds to a difference of whole values."""

_ROUNDING = 1
"""Of 255: what two exact ways of laying a half-transparent pixel over white may differ by."""


def as_image(image: Image) -> PillowImage.Image:
    """A normalised picture as Pillow has it."""
    return PillowImage.frombytes("RGB", (image.width, image.height), image.pixels)


def compare_images(brought: Sequence[Image], truth: Expected) -> Outcome:
    """Decoded and normalised, before anything is reduced: exact but for rounding of alpha."""
    maximum, total, count = 0, 0, 0
    for image, expected in zip(brought, truth.images, strict=True):
        if (image.width, image.height) != expected.size:
            width, height = expected.size
            return _broken("size", f"{image.width}x{image.height}, expected {width}x{height}")
        ours = np.asarray(as_image(image), np.int16)
        difference = np.abs(ours - np.asarray(expected, np.int16))
        maximum = max(maximum, int(difference.max()))
        total, count = total + int(difference.sum()), count + difference.size
    return _values(maximum, total / count, maximum <= _ROUNDING)


def compare_pixels(
    ours: NDArray[np.float32],
    truth: Expected,
    reference: Reference,
    allowed: tuple[float, float],
) -> Outcome:
    """What the vision tower takes.

    Args:
        ours: The engine's, or the reference's of the engine's picture.
        truth: The reference's of the picture that was sent.
        reference: Knows the scale.
        allowed: Largest and mean difference, in 1/255 of the picture's range.
    """
    expected = truth.pixels
    if ours.shape != expected.shape:
        return _broken("shape", f"{_shape(ours)}, expected {_shape(expected)}")
    difference = np.abs(ours - expected) / reference.step(expected)
    maximum, mean = float(difference.max()), float(difference.mean())
    return _values(maximum, mean, maximum <= allowed[0] + _FLOAT and mean <= allowed[1])


def compare_image_tokens(shown: Showing, truth: Expected, image_token: int) -> Outcome:
    """How many places pictures take in the prompt, as it is computed and as it is billed."""
    expected = truth.image_tokens
    counts = []
    if shown.prompt_ids is not None:
        counts.append(("computed", shown.prompt_ids.count(image_token)))
    tells = shown.prompt_ids is not None  # a server may leave it at 0, and hides the ids too
    if shown.usage is not None and (tells or shown.usage.image_tokens):
        counts.append(("billed", shown.usage.image_tokens))
    if not counts:
        return _hidden(shown, "usage")
    for what, count in counts:
        if count != expected:
            told = f"{count} {what}, expected {expected}"
            return _broken(str(count), told, count=count, expected=expected)
    return _held(str(expected), count=expected)


def compare_prompt(shown: Showing, truth: Expected) -> Outcome:
    """The prompt's token ids; their number where that is all that is told."""
    expected = truth.prompt_ids
    count = len(expected)
    if shown.prompt_ids is not None and shown.prompt_ids != expected:
        place = _first_difference(shown.prompt_ids, expected)
        ours = len(shown.prompt_ids)
        told = f"{ours} token ids, other ones from {place} on, expected {count}"
        return _broken(f"at {place}", told, place=place, count=ours, expected=count)
    if shown.usage is not None and shown.usage.prompt_tokens != count:
        billed = shown.usage.prompt_tokens
        told = f"{billed} tokens billed, expected {count}"
        return _broken(str(billed), told, count=billed, expected=count)
    if shown.prompt_ids is None and shown.usage is None:
        return _hidden(shown, "prompt_ids")
    return _held(str(count), count=count)


def compare_first_token(
    shown: Showing, truth: Expected, reference: Reference, tolerance: Tolerance
) -> Outcome:
    """The first token of the answer: how likely the engine thinks each, and which one it gives.

    What is off by a degree is `ROUNDED`, for the whole pack to judge. What rounded weights cannot
    do is `BROKEN`: tokens that never come, or another text than the engine's own logits say.
    """
    says = _log_probabilities(truth.logits)
    if shown.logits is not None:
        outcome = _whole(shown.logits, truth.logits, tolerance)
    elif shown.likeliest:
        outcome = _listed(shown.likeliest, says, reference, tolerance)
    elif shown.served is not None:
        outcome = _held("text")
    else:
        return _hidden(shown, "logits")
    if outcome.verdict is Verdict.BROKEN or shown.served is None:
        return outcome
    if outcome.verdict is Verdict.ROUNDED:
        if shown.logits is None:
            return outcome
        says = _log_probabilities(shown.logits)
    good = np.flatnonzero(says >= says.max() - tolerance.log_probability)
    if shown.served.strip() in {reference.shown_text(int(token)).strip() for token in good}:
        return outcome
    best = reference.shown_text(int(says.argmax()))
    return _broken("text", f"{shown.served!r} given, expected {best!r}", **outcome.figures)


def _whole(
    logits: NDArray[np.float32], expected_logits: NDArray[np.float32], tolerance: Tolerance
) -> Outcome:
    """All logits; unlikely tokens that the engine never gives are left out."""
    if logits.shape != expected_logits.shape:
        return _broken("shape", f"{logits.size} logits, expected {expected_logits.size}")
    if not (logits < np.inf).all():
        return _broken("infinite", "some logits are infinite, or no numbers")
    given = np.isfinite(logits) & np.isfinite(expected_logits)
    never = float(np.exp(_log_probabilities(expected_logits))[~given].sum())
    if never >= SHARE:
        told = f"tokens never come that the reference gives {never:.0%} together"
        return _broken("never", told, never=never)
    ours, expected = _log_probabilities(logits[given]), _log_probabilities(expected_logits[given])
    difference = np.abs(ours - expected)
    counted = _counted(expected)
    maximum = float(difference[counted].max())
    divergence = max(0.0, float((np.exp(expected) * (expected - ours)).sum()))
    lost = float(expected.max() - expected[ours.argmax()])
    figures = {"log_probability": maximum, "divergence": divergence, "lost": lost}
    held = (
        maximum <= tolerance.log_probability
        and divergence <= tolerance.divergence
        and lost <= tolerance.log_probability
    )
    told = f"log-probabilities off by {maximum:.2f}, divergence {divergence:.2g} nats"
    return _near(f"{maximum:.3f}", told, held, figures)


def _listed(
    likeliest: Mapping[str, float],
    expected: NDArray[np.float64],
    reference: Reference,
    tolerance: Tolerance,
) -> Outcome:
    """The few tokens that a server lists, by their text.

    One that it leaves out is less likely than those, and has no more than what these leave.
    """
    known = {text.strip(): value for text, value in likeliest.items()}
    left = max(_NOTHING, 1.0 - math.fsum(map(math.exp, likeliest.values())))
    floor = min(*likeliest.values(), math.log(left))
    maximum = 0.0
    for token in _counted(expected):
        text, value = reference.text(int(token)).strip(), float(expected[token])
        theirs = known.get(text)
        maximum = max(maximum, max(0.0, value - floor) if theirs is None else abs(value - theirs))
    held = maximum <= tolerance.log_probability
    told = f"log-probabilities off by {maximum:.2f}"
    return _near(f"{maximum:.3f}", told, held, {"log_probability": maximum})


def _counted(expected: NDArray[np.float64]) -> NDArray[np.intp]:
    """The reference's likeliest tokens, those aside that hardly ever come."""
    top = np.argsort(expected)[::-1][:_TOP]
    likely: NDArray[np.intp] = top[(np.exp(expected[top]) >= SHARE) | (top == top[0])]
    return likely


def _log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max()
    result: NDArray[np.float64] = wide - np.log(np.exp(wide).sum())
    return result


def _first_difference(ours: Sequence[int], expected: Sequence[int]) -> int:
    pairs = enumerate(zip(ours, expected, strict=False))
    return next(
        (place for place, (one, other) in pairs if one != other), min(len(ours), len(expected))
    )


def _values(maximum: float, mean: float, held: bool) -> Outcome:  # noqa: FBT001
    told = f"off by up to {maximum:.1f}/255, {mean:.2f} on average"
    cell = f"{maximum:.0f}" if maximum >= 10 else f"{maximum:.2g}"  # noqa: PLR2004 - two digits are enough
    return _judged(cell, told, held, {"most": maximum, "mean": mean})


def _judged(cell: str, told: str, held: bool, figures: dict[str, float]) -> Outcome:  # noqa: FBT001
    return _held(cell, **figures) if held else _broken(cell, told, **figures)


def _near(cell: str, told: str, held: bool, figures: dict[str, float]) -> Outcome:  # noqa: FBT001
    verdict = Verdict.HELD if held else Verdict.ROUNDED
    return Outcome(verdict=verdict, cell=cell, told="" if held else told, figures=figures)


def _held(cell: str, **figures: float) -> Outcome:
    return Outcome(verdict=Verdict.HELD, cell=cell, figures=figures)


def _broken(cell: str, told: str, **figures: float) -> Outcome:
    return Outcome(verdict=Verdict.BROKEN, cell=cell, told=told, figures=figures)


def _hidden(shown: Showing, name: str) -> Outcome:
    why = shown.hidden.get(name, "not shown by this engine")
    return Outcome(verdict=Verdict.HIDDEN, cell="-", told=why)


def hidden_pixels(shown: Showing) -> Outcome:
    """The stage of an engine that does not show what its vision tower takes."""
    return _hidden(shown, "pixels")


def _shape(pixels: NDArray[np.float32]) -> str:
    sizes = "x".join(map(str, pixels.shape))
    return f"{_LAYOUTS.get(pixels.ndim, 'numbers')} {sizes}"
