"""Applies optimisations to a bundle: draws the calibration images, builds the new bundle."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from silkline.config import Settings
from silkline.core import PixelBudget
from silkline.errors import ConfigError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import Item
from silkline.models.bundle import Bundle, Calibration
from silkline.models.resolve import locate_model, resolve_model
from silkline.optimize.build import build, check_target
from silkline.optimize.calibration import draw, joined
from silkline.optimize.optimisation import OnStage, Optimisation, Sample, choose
from silkline.service.local import create_intake
from silkline.service.subject import source_of


@dataclass(frozen=True, slots=True)
class OptimizePlan:
    """What to optimise, and how.

    Attributes:
        settings: The settings, which name the model.
        names: The optimisations, in the order to apply them.
        target: Folder of the new bundle.
        dataset: Where calibration images come from; None if there is no data set.
        count: Number of calibration images.
        seed: Seed of their draw.
    """

    settings: Settings
    names: Sequence[str]
    target: Path
    dataset: Dataset | None
    count: int
    seed: int


async def optimize(plan: OptimizePlan, on_stage: OnStage) -> Bundle:
    """Builds an optimised bundle; it needs a gate before it is served.

    Raises:
        ConfigError: The model is no bundle, an optimisation does not apply, or a calibration image
            cannot be used.
        EnvironmentFault: A library is missing or fails, or a file cannot be written.
        SilklineError: An image cannot be loaded.
    """
    model = plan.settings.engine.model
    if locate_model(model, os.environ).bundle is None:
        raise ConfigError(
            f"{model} is not a bundle. Export it first: silkline up {model} --precision fp16, then "
            "use the folder that silkline store lists."
        )
    check_target(plan.target)
    base = await asyncio.to_thread(resolve_model, model)
    chosen = choose(plan.names, base)
    calibration, samples = await _calibration(plan, chosen, base, on_stage)
    images = [sample.image for sample in samples]
    return await asyncio.to_thread(
        build, base, chosen, plan.target, images, calibration, on_stage, samples
    )


async def _calibration(
    plan: OptimizePlan, chosen: Sequence[Optimisation], base: Bundle, on_stage: OnStage
) -> tuple[Calibration | None, list[Sample]]:
    """What calibrates, if something needs it."""
    needing = [each.name for each in chosen if each.calibrated]
    if not needing:
        return base.manifest.calibration, []
    if plan.dataset is None:
        raise ConfigError(f"{needing[0]} is calibrated with images. Name a set of them by --data.")
    on_stage("loading the calibration images")
    drawn, items = draw(plan.dataset, plan.count, plan.seed)
    calibration = joined(base.manifest.calibration, drawn)
    return calibration, await load_samples(plan.settings, base, items)


async def load_samples(settings: Settings, base: Bundle, items: Sequence[Item]) -> list[Sample]:
    """Loads items to calibrate with; their images are decoded as a request's are.

    Raises:
        SilklineError: An image cannot be loaded.
    """
    limit = settings.limits.max_image_bytes
    budget = PixelBudget(shortest_edge=base.manifest.image_size)
    samples = []
    async with create_intake(settings) as intake:
        for item in items:
            taken = await intake.take((source_of(item.image, limit),), budget, b"")
            samples.append(Sample(taken.images[0], item.prompt, _answer(item)))
    return samples


def _answer(item: Item) -> str:
    """The right answer as a model would write it; empty if the data set has none."""
    if item.record is not None:
        return json.dumps(dict(item.record), ensure_ascii=False)
    return item.references[0] if item.references else ""
