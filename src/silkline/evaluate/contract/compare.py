"""Compares an engine with transformers stage by stage, on the same input bytes."""

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
"""Minimum probability left for unlisted tokens; avoids log(0) after rounding."""

_LAYOUTS = {2: "patches", 4: "tiles"}
_FLOAT = 0.01
"""In 1/255: the rounding error of float32 in a difference of integer values."""

_ROUNDING = 1
"""In 1/255: by how much two exact methods of blending a pixel with white may differ."""


def as_image(image: Image) -> PillowImage.Image:
    """Converts a normalised image to Pillow."""
    return PillowImage.frombytes("RGB", (image.width, image.height), image.pixels)


def compare_images(brought: Sequence[Image], truth: Expected) -> Outcome:
    """Compares decoded, normalised images before scaling: exact except for rounding of alpha."""
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
    """Compares the inputs of the vision tower.

    Args:
        ours: The engine's pixels, or the reference's pixels for the engine's image.
        truth: The reference's result for the image that was sent.
        reference: Provides the scale of pixel values.
        allowed: Maximum and mean difference, in 1/255 of the image's range.
    """
    expected = truth.pixels
    if ours.shape != expected.shape:
        return _broken("shape", f"{_shape(ours)}, expected {_shape(expected)}")
    difference = np.abs(ours - expected) / reference.step(expected)
    maximum, mean = float(difference.max()), float(difference.mean())
    return _values(maximum, mean, maximum <= allowed[0] + _FLOAT and mean <= allowed[1])


def compare_image_tokens(shown: Showing, truth: Expected, image_token: int) -> Outcome:
    """Compares the number of image tokens in the prompt, as computed and as billed."""
    expected = truth.image_tokens
    counts = []
    if shown.prompt_ids is not None:
        counts.append(("computed", shown.prompt_ids.count(image_token)))
    # A server that hides the ids may leave the count at 0.
    counts_images = shown.prompt_ids is not None
    if shown.usage is not None and (counts_images or shown.usage.image_tokens):
        counts.append(("billed", shown.usage.image_tokens))
    if not counts:
        return _hidden(shown, "usage")
    for what, count in counts:
        if count != expected:
            message = f"{count} {what}, expected {expected}"
            return _broken(str(count), message, count=count, expected=expected)
    return _held(str(expected), count=expected)


def compare_prompt(shown: Showing, truth: Expected) -> Outcome:
    """Compares the prompt's token ids, or only their number if the ids are hidden."""
    expected = truth.prompt_ids
    count = len(expected)
    if shown.prompt_ids is not None and shown.prompt_ids != expected:
        index = _first_difference(shown.prompt_ids, expected)
        ours = len(shown.prompt_ids)
        message = f"{ours} token ids, different from index {index} on, expected {count}"
        return _broken(f"at {index}", message, place=index, count=ours, expected=count)
    if shown.usage is not None and shown.usage.prompt_tokens != count:
        billed = shown.usage.prompt_tokens
        message = f"{billed} tokens billed, expected {count}"
        return _broken(str(billed), message, count=billed, expected=count)
    if shown.prompt_ids is None and shown.usage is None:
        return _hidden(shown, "prompt_ids")
    return _held(str(count), count=count)


def compare_first_token(
    shown: Showing, truth: Expected, reference: Reference, tolerance: Tolerance
) -> Outcome:
    """Compares the first token of the answer: its probabilities, and the token returned.

    Differences of degree are `ROUNDED`; the whole pack decides whether they break the contract.
    What rounded weights cannot cause is `BROKEN`: tokens of probability 0, or a text that differs
    from the engine's own logits.
    """
    log_probabilities = _log_probabilities(truth.logits)
    if shown.logits is not None:
        outcome = _compare_logits(shown.logits, truth.logits, tolerance)
    elif shown.likeliest:
        outcome = _compare_listed(shown.likeliest, log_probabilities, reference, tolerance)
    elif shown.served is not None:
        outcome = _held("text")
    else:
        return _hidden(shown, "logits")
    if outcome.verdict is Verdict.BROKEN or shown.served is None:
        return outcome
    if outcome.verdict is Verdict.ROUNDED:
        if shown.logits is None:
            return outcome
        log_probabilities = _log_probabilities(shown.logits)
    good = np.flatnonzero(log_probabilities >= log_probabilities.max() - tolerance.log_probability)
    if shown.served.strip() in {reference.shown_text(int(token)).strip() for token in good}:
        return outcome
    best = reference.shown_text(int(log_probabilities.argmax()))
    return _broken("text", f"answered {shown.served!r}, expected {best!r}", **outcome.figures)


def _compare_logits(
    logits: NDArray[np.float32], expected_logits: NDArray[np.float32], tolerance: Tolerance
) -> Outcome:
    """Compares all logits; ignores unlikely tokens that the engine gives probability 0."""
    if logits.shape != expected_logits.shape:
        return _broken("shape", f"{logits.size} logits, expected {expected_logits.size}")
    if not (logits < np.inf).all():
        return _broken("infinite", "some logits are infinite or NaN")
    given = np.isfinite(logits) & np.isfinite(expected_logits)
    never = float(np.exp(_log_probabilities(expected_logits))[~given].sum())
    if never >= SHARE:
        message = f"tokens with {never:.0%} of the reference's probability have none"
        return _broken("never", message, never=never)
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
    message = f"log-probabilities off by {maximum:.2f}, divergence {divergence:.2g} nats"
    return _rounded(f"{maximum:.3f}", message, held, figures)


def _compare_listed(
    likeliest: Mapping[str, float],
    expected: NDArray[np.float64],
    reference: Reference,
    tolerance: Tolerance,
) -> Outcome:
    """Compares the few most likely tokens that a server lists, by their text.

    An unlisted token is less likely than the listed ones, and has at most the rest probability.
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
    message = f"log-probabilities off by {maximum:.2f}"
    return _rounded(f"{maximum:.3f}", message, held, {"log_probability": maximum})


def _counted(expected: NDArray[np.float64]) -> NDArray[np.intp]:
    """The reference's most likely tokens, without those below `SHARE`."""
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
        (index for index, (token, other) in pairs if token != other), min(len(ours), len(expected))
    )


def _values(maximum: float, mean: float, held: bool) -> Outcome:  # noqa: FBT001
    message = f"off by up to {maximum:.1f}/255, {mean:.2f} on average"
    cell = f"{maximum:.0f}" if maximum >= 10 else f"{maximum:.2g}"  # noqa: PLR2004 - two digits are enough
    return _judged(cell, message, held, {"most": maximum, "mean": mean})


def _judged(cell: str, told: str, held: bool, figures: dict[str, float]) -> Outcome:  # noqa: FBT001
    return _held(cell, **figures) if held else _broken(cell, told, **figures)


def _rounded(cell: str, told: str, held: bool, figures: dict[str, float]) -> Outcome:  # noqa: FBT001
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
    """The outcome for an engine that does not expose the inputs of its vision tower."""
    return _hidden(shown, "pixels")


def _shape(pixels: NDArray[np.float32]) -> str:
    sizes = "x".join(map(str, pixels.shape))
    return f"{_LAYOUTS.get(pixels.ndim, 'numbers')} {sizes}"
