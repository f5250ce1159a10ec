"""Draws the images that calibrate an optimisation, with coverage over the slices of a data set."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterator, Sequence

from silkline.errors import ConfigError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import Item
from silkline.models.bundle import Calibration


def draw(dataset: Dataset, count: int, seed: int) -> tuple[Calibration, list[Item]]:
    """Draws an item for each of `count` images; fewer if the set has fewer.

    The slices take turns: every value of every field gets an image before one gets its second,
    as far as the images allow it.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    distinct = list({item.image.digest: item for item in dataset.items}.values())
    chance.shuffle(distinct)
    chosen: dict[str, Item] = {}
    for item in _in_turns(distinct):
        if len(chosen) == count:
            break
        chosen[item.image.digest] = item
    return _recorded(dataset.name, seed, chosen), list(chosen.values())


def joined(base: Calibration | None, drawn: Calibration) -> Calibration:
    """A calibration that also names the images which calibrated the base."""
    if base is None:
        return drawn
    name = " and ".join(dict.fromkeys((base.dataset, drawn.dataset)))
    return _recorded(name, drawn.seed, {*base.images, *drawn.images})


def _recorded(name: str, seed: int, images: Collection[str]) -> Calibration:
    ordered = tuple(sorted(images))
    digest = hashlib.sha256("\n".join(ordered).encode()).hexdigest()
    return Calibration(name, digest, seed, ordered)


def _in_turns(items: Sequence[Item]) -> Iterator[Item]:
    """Items of the slices in turns, some more than once; then all of them."""
    slices: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        for field in item.fields.items():
            slices.setdefault(field, []).append(item)
    queues = [iter(found) for _, found in sorted(slices.items()) if len(found) < len(items)]
    while queues:
        alive = []
        for queue in queues:
            if (drawn := next(queue, None)) is not None:
                yield drawn
                alive.append(queue)
        queues = alive
    yield from items


def without(dataset: Dataset, images: Collection[str]) -> Dataset:
    """The data set without the items about some images, by their digests.

    Raises:
        ConfigError: Nothing is left.
    """
    left = [item for item in dataset.items if item.image.digest not in images]
    if not left:
        raise ConfigError(
            f"All images of {dataset.name} calibrated the candidate, so they cannot judge it. Use "
            "other images."
        )
    return dataset if len(left) == len(dataset.items) else dataset.of(left)
