"""Which of several replicas takes a request.

Two rules, both pure functions of what is in flight where:

- **Affinity.** Requests with the same picture prefer the same replica, whose prefix cache may hold
  it. Which one is decided by weighted rendezvous hashing (Thaler and Ravishankar, "Using
  name-based mappings to increase hit rates", 1998; weights after Schindelhauer and Schomaker,
  "Weighted distributed hash tables", 2005): each replica draws a score from the key and its own
  name, and the highest wins. A replica that comes or goes moves only its own keys. Its load stays
  bounded (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016): where
  the preferred replica has more than its share of what is in flight, the next one in the key's own
  order takes the request, so that a picture in great demand overflows to the same second replica
  each time.
- **Power of two choices.** Requests without a key go to the less loaded of two replicas that are
  drawn by weight (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
  Load is what is in flight for each unit of weight.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

LOAD_FACTOR = 1.25
"""How far above its fair share of the load a preferred replica may be; the paper's 1 + epsilon."""

_SCORES = 2**64


class Candidate(Protocol):
    """What the rules know of a replica."""

    @property
    def name(self) -> str:
        """Unique among the candidates; the same in every process."""

    @property
    def weight(self) -> float:
        """Its share relative to the others' weights, above 0."""

    @property
    def in_flight(self) -> int:
        """Requests that it has."""

    @property
    def full(self) -> bool:
        """Whether it can take no more."""


_Candidate = TypeVar("_Candidate", bound=Candidate)


def choose(
    candidates: Sequence[_Candidate], key: str | None, dice: random.Random
) -> _Candidate | None:
    """The candidate that takes the next request; None when all are full.

    Args:
        candidates: Those that are well, full ones included: they count for what a fair share is.
        key: What requests have in common that should meet at one replica; None for nothing.
        dice: What the power of two choices draws from.
    """
    if key is not None and len(candidates) > 1:
        preferred = by_affinity(candidates, key)
        if preferred is not None:
            return preferred
    free = [candidate for candidate in candidates if not candidate.full]
    return by_load(free, dice) if free else None


def by_affinity(candidates: Sequence[_Candidate], key: str) -> _Candidate | None:
    """The first in the key's order that is below its bound; None when those are all full."""
    in_flight = sum(candidate.in_flight for candidate in candidates)
    weights = sum(candidate.weight for candidate in candidates)
    for candidate in sorted(candidates, key=lambda each: _score(each, key), reverse=True):
        bound = math.ceil(LOAD_FACTOR * (in_flight + 1) * candidate.weight / weights)
        if candidate.in_flight < bound and not candidate.full:
            return candidate
    return None


def by_load(candidates: Sequence[_Candidate], dice: random.Random) -> _Candidate:
    """The less loaded of two that are drawn by weight; the first of equals, so shares keep."""
    if len(candidates) == 1:
        return candidates[0]
    first = _draw(candidates, dice)
    second = _draw([candidate for candidate in candidates if candidate is not first], dice)
    return min(first, second, key=lambda each: each.in_flight / each.weight)


def _draw(candidates: Sequence[_Candidate], dice: random.Random) -> _Candidate:
    return dice.choices(candidates, [candidate.weight for candidate in candidates])[0]


def _score(candidate: Candidate, key: str) -> float:
    """An exponential variate of rate `1 / weight` from key and name: P(highest) is the share."""
    text = f"{candidate.name}\0{key}".encode()
    drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    return -candidate.weight / math.log((drawn + 0.5) / _SCORES)
