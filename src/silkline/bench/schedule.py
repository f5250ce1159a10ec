"""The schedule: when each request is due and which image it sends, computed in advance.

A non-homogeneous Poisson process is drawn by stretching time (a unit-rate process is mapped through
the inverse of the integrated rate), so that bursts keep the process Poisson. Popularity follows
Zipf's law: a rank is drawn from the cumulative weights by bisection.
"""

from __future__ import annotations

import bisect
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

from silkline.bench.spec import Arrivals, Traffic

NEAR_VARIANTS = 4096
"""Number of near duplicates of each image, numbered from 1."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The requests of a run in order of time; all arrays have the same length.

    Attributes:
        times: Intended times in seconds after the start, ascending.
        images: Image numbers. Those below the catalogue's size are catalogue images, the most
            popular first; the others are new images, sent once.
        variants: 0 for the image itself, else the number of its near duplicate.
    """

    times: array[float]
    images: array[int]
    variants: array[int]

    def __len__(self) -> int:
        return len(self.times)

    def between(self, begin: float, end: float) -> range:
        """The indexes of the requests from `begin` up to, but excluding, `end` seconds."""
        return range(bisect.bisect_left(self.times, begin), bisect.bisect_left(self.times, end))


def make_schedule(arrivals: Arrivals, traffic: Traffic, catalogue: int) -> Schedule:
    """Draws a schedule; equal arguments give equal schedules.

    Args:
        arrivals: When requests come.
        traffic: What they send.
        catalogue: Number of images in the catalogue.
    """
    chance = random.Random(arrivals.seed)  # noqa: S311 - a repeatable draw, not a secret
    times = array("d", _times(arrivals, chance))
    images, variants = array("q"), array("H")
    for image, variant in islice(_images(traffic, catalogue, chance), len(times)):
        images.append(image)
        variants.append(variant)
    return Schedule(times, images, variants)


def draw_images(arrivals: Arrivals, traffic: Traffic, catalogue: int) -> Iterator[tuple[int, int]]:
    """Yields image numbers and variants without end, for a closed loop; equal for equal seeds."""
    return _images(traffic, catalogue, random.Random(arrivals.seed))  # noqa: S311 - no secret


def _images(traffic: Traffic, catalogue: int, chance: random.Random) -> Iterator[tuple[int, int]]:
    if traffic.rounds:
        while True:
            yield from ((image, 0) for image in chance.sample(range(catalogue), catalogue))
    weights = list(accumulate(1.0 / rank**traffic.zipf for rank in range(1, catalogue + 1)))
    fresh = catalogue
    while True:
        kind, variant = chance.random(), 0
        if kind < traffic.new:
            image, fresh = fresh, fresh + 1
        else:
            image = bisect.bisect_left(weights, chance.random() * weights[-1])
            if kind < traffic.new + traffic.near:
                variant = 1 + chance.randrange(NEAR_VARIANTS)
        yield image, variant


def _times(arrivals: Arrivals, chance: random.Random) -> Iterator[float]:
    chunks = _chunks(arrivals)
    begin, end, rate = next(chunks)
    at = begin
    while True:
        wait = chance.expovariate(1.0)  # in expected requests, not in seconds
        while at + wait / rate >= end:
            wait -= (end - at) * rate
            following = next(chunks, None)
            if following is None:
                return
            at, end, rate = following
        at += wait / rate
        yield at


def _chunks(arrivals: Arrivals) -> Iterator[tuple[float, float, float]]:
    """Yields the intervals of constant rate: begin, end, requests per second."""
    burst, total = arrivals.burst, arrivals.seconds
    if burst is None:
        yield 0.0, total, arrivals.rate
        return
    calm_from, begin = 0.0, burst.every
    while begin < total:
        yield calm_from, begin, arrivals.rate
        calm_from = min(total, begin + burst.seconds)
        yield begin, calm_from, arrivals.rate * burst.factor
        begin += burst.every
    if calm_from < total:
        yield calm_from, total, arrivals.rate
