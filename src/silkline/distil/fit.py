"""Fits the threshold of a cascade: as few questions to the large model as the quality allows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import msgspec

from silkline.distil.calibration import Calibration, calibration_error, isotonic
from silkline.errors import ConfigError
from silkline.evaluate.margin import FEWEST_CLUSTERS, drop_of, items_needed

_CANDIDATES = 100
"""Thresholds that are tried at most."""


class Level(msgspec.Struct, frozen=True):
    """A cascade with one threshold, on the data of the fit.

    Attributes:
        threshold: The probability of a token below which the large model answers.
        escalated: Share of the questions that the large model answers.
        quality: Mean score of the cascade, 0 to 1.
        low: Lower end of its one-sided interval.
    """

    threshold: float
    escalated: float
    quality: float
    low: float


class Fitted(msgspec.Struct, frozen=True):
    """A fitted cascade.

    Attributes:
        chosen: The threshold, and what it gives.
        chance: The probability that an answer of the small model at the threshold is right.
        small: Mean score of the small model.
        large: Mean score of the large model.
        wanted: The mean score that the cascade must have.
        confidence: Of the test that it has.
        oracle: Share of the questions that would escalate if it were known where the small model is
            worse.
        levels: All thresholds that were tried, the highest first.
        calibration: From the small model's confidence to the probability that it is right.
        error: Expected calibration error of its confidence as it is.
        calibrated_error: The same of the calibrated one, each half of the images by the other half.
    """

    chosen: Level
    chance: float
    small: float
    large: float
    wanted: float
    confidence: float
    oracle: float
    levels: tuple[Level, ...]
    calibration: Calibration
    error: float
    calibrated_error: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What both models answered.

    Attributes:
        confidences: The small model's confidence by item, 0 to 1.
        small: Its scores, 0 to 1.
        large: The large model's scores.
        groups: The group of each item, such as its image.
    """

    confidences: Sequence[float]
    small: Sequence[float]
    large: Sequence[float]
    groups: Sequence[Hashable]


def fit(answered: Answered, keep: float, confidence: float) -> Fitted:
    """Finds the lowest threshold whose cascade keeps a share of the large model's score.

    Thresholds are tested from the highest on, where the large model answers nearly everything, and
    testing ends at the first that is not shown to keep enough. So the level holds for all of them
    together (fixed-sequence testing).

    Args:
        answered: The answers of both models.
        keep: The share of the large model's score to keep, above 0 and below 1.
        confidence: Of the test, such as 0.95.

    Raises:
        ConfigError: There are too few items to show it for any threshold.
    """
    large = _mean(answered.large)
    margin = (1 - keep) * large
    if len(set(answered.groups)) < FEWEST_CLUSTERS or margin <= 0:
        raise ConfigError(
            "The threshold cannot be fitted: expected items about two images or more, some of "
            "which the large model answers rightly."
        )
    levels: list[Level] = []
    chosen: Level | None = None
    items = len(answered.confidences)
    for threshold in _candidates(answered.confidences):
        losses = [
            better - own if sure >= threshold else 0.0
            for sure, own, better in zip(
                answered.confidences, answered.small, answered.large, strict=True
            )
        ]
        drop = drop_of(losses, answered.groups)
        kept = sum(sure >= threshold for sure in answered.confidences)
        level = Level(
            threshold,
            1 - kept / len(losses),
            large - drop.value,
            large - drop.interval(confidence)[1],
        )
        levels.append(level)
        if drop.p_less(margin) >= 1 - confidence:
            break
        chosen = level
    if chosen is None:
        needed = items_needed(margin, 0.0, confidence, unit=items / len(set(answered.groups)))
        raise ConfigError(
            f"{items:,} items are too few to show that {keep:.1%} of the large model's score "
            f"is kept. Use at least {max(needed, items + 1):,}, or a lower --keep."
        )
    calibration = isotonic(answered.confidences, answered.small)
    return Fitted(
        chosen=chosen,
        chance=calibration(chosen.threshold),
        small=_mean(answered.small),
        large=large,
        wanted=keep * large,
        confidence=confidence,
        oracle=_mean([a < b for a, b in zip(answered.small, answered.large, strict=True)]),
        levels=tuple(levels),
        calibration=calibration,
        error=calibration_error(answered.confidences, answered.small),
        calibrated_error=_crossed_error(answered),
    )


def _candidates(confidences: Sequence[float]) -> list[float]:
    """Thresholds in descending order, each a confidence that was seen."""
    ordered = sorted(set(confidences), reverse=True)
    step = max(1, math.ceil(len(ordered) / _CANDIDATES))
    return ordered[step - 1 :: step] or ordered[-1:]


def _crossed_error(answered: Answered) -> float:
    groups = {group: number for number, group in enumerate(dict.fromkeys(answered.groups))}
    halves: tuple[list[int], list[int]] = ([], [])
    for index, group in enumerate(answered.groups):
        halves[groups[group] % 2].append(index)
    chances, right = [], []
    for judged, fitted in (halves, halves[::-1]):
        calibration = isotonic(
            [answered.confidences[index] for index in fitted],
            [answered.small[index] for index in fitted],
        )
        chances += [calibration(answered.confidences[index]) for index in judged]
        right += [answered.small[index] for index in judged]
    return calibration_error(chances, right)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
