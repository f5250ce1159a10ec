"""Splits a data set into what calibrates, what picks and what confirms."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from silkline.errors import ConfigError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import Item
from silkline.models.bundle import Calibration
from silkline.optimize.calibration import draw

_MIN_CLUSTERS = 12
"""Minimum number of clusters; with fewer, neither half could show anything."""

_CALIBRATING = 0.4
"""The largest share of the images outside the confirmation that calibrate."""


@dataclass(frozen=True, slots=True)
class Split:
    """A data set in three parts without a common image.

    Attributes:
        calibration: What is recorded about the calibration's images.
        calibrating: The items whose images and questions calibrate; one for each image.
        selection: The items on which candidates are compared, in the order in which they are asked.
        confirmation: The items on which the finalists are judged; half of the set.
    """

    calibration: Calibration
    calibrating: Sequence[Item]
    selection: Dataset
    confirmation: Dataset


def split(dataset: Dataset, images: int, seed: int) -> Split:
    """Splits a data set; items of one group, or about one image, stay together.

    Args:
        dataset: The data set.
        images: Number of calibration images; fewer if the set is small.
        seed: Seed of the draws.

    Raises:
        ConfigError: The set has too few images.
    """
    clusters = _clusters(dataset.items)
    if len(clusters) < _MIN_CLUSTERS:
        raise ConfigError(
            f"{dataset.name} has {len(clusters)} images or groups. A search needs at least "
            f"{_MIN_CLUSTERS}, for it judges on others than it picks on."
        )
    random.Random(seed).shuffle(clusters)  # noqa: S311 - no secret
    confirming: list[Item] = []
    while len(confirming) < len(dataset.items) / 2:
        confirming += clusters.pop()
    rest = [item for cluster in clusters for item in cluster]
    distinct = len({item.image.digest for item in rest})
    calibration, drawn = draw(dataset.of(rest), min(images, int(_CALIBRATING * distinct)), seed)
    used = set(calibration.images)
    selection = [item for item in rest if item.image.digest not in used]
    return Split(calibration, drawn, dataset.of(selection), dataset.of(confirming))


def sample(dataset: Dataset, items: int, seed: int) -> Dataset:
    """About so many items of a data set, drawn by whole clusters; all if it has no more."""
    if len(dataset.items) <= items:
        return dataset
    clusters = _clusters(dataset.items)
    random.Random(seed).shuffle(clusters)  # noqa: S311 - no secret
    chosen: list[Item] = []
    while len(chosen) < items:
        chosen += clusters.pop()
    return dataset.of(chosen)


def _clusters(items: Sequence[Item]) -> list[list[Item]]:
    """The items that share a group or an image, also by way of others."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    for item in items:
        parent[root(("image", item.image.digest))] = root(("group", item.group))
    found: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        found.setdefault(root(("group", item.group)), []).append(item)
    return list(found.values())
