"""Fewer image tokens: which method keeps what share of them.

A bundle's manifest states it for an engine's weights; the engine follows it and counts the tokens
that are left.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from silkline.models.image_tokens import Count


class Method(StrEnum):
    """How the image tokens that stay are chosen, from the vision tower's features of an image."""

    DIVPRUNE = "divprune"
    """Max-min diversity: each next one is the least similar to those chosen (arXiv 2503.02175)."""

    CDPRUNER = "cdpruner"
    """A determinantal point process, conditioned on the prompt (arXiv 2506.10967)."""

    ADAPTIVE = "adaptive"
    """The same process; the prompt counts for more the fewer distinct features an image has."""

    MERGE = "merge"
    """The most similar pairs are averaged, in rounds (arXiv 2210.09461)."""

    RANDOM = "random"
    """The same randomly drawn tokens of every image: the baseline of all methods."""

    @property
    def needs_prompt(self) -> bool:
        """Whether the choice depends on the text of the prompt."""
        return self in {Method.CDPRUNER, Method.ADAPTIVE}


class Pruning(msgspec.Struct, frozen=True):
    """How an engine reduces the tokens of an image.

    Attributes:
        method: How tokens are chosen.
        keep: Share of the features that stay, of each part that is encoded separately.
    """

    method: Method
    keep: Annotated[float, Meta(gt=0, lt=1)]

    def kept(self, features: int) -> int:
        """How many of a part's features stay: rounded, at least 1."""
        return max(1, math.floor(self.keep * features + 0.5))

    def count(self, count: Count) -> Count:
        """The tokens of an image of which the family's rule counts `count`."""
        return replace(count, features=count.parts * self.kept(count.features // count.parts))


def pruned(count: Count, pruning: Pruning | None) -> Count:
    """The tokens of an image, pruned or not."""
    return count if pruning is None else pruning.count(count)
