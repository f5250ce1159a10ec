"""Chooses the replica that takes a request.

Two rules, both pure functions of how many requests each replica has in flight:

- **Affinity.** Requests with the same image prefer the same replica, whose prefix cache may hold
  it. Weighted rendezvous hashing decides which one (Thaler and Ravishankar, "Using name-based
  mappings to increase hit rates", 1998; weights after Schindelhauer and Schomaker, "Weighted
  distributed hash tables", 2005): each replica gets a score from the key and its own name, and the
  highest score wins. Adding or removing a replica moves only the keys of that replica. Its load is
  bounded (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2016): when
  the preferred replica has more than its share of the requests in flight, the next one in the
  key's order takes the request. So a popular image always overflows to the same second replica.
- **Power of two choices.** Requests without a key go to the less loaded of two replicas drawn at
  random by weight (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
  Load is the number of requests in flight per unit of weight.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

LOAD_FACTOR = 1.25
"""Maximum load of a preferred replica, in fair shares; the paper's 1 + epsilon."""

_SCORES = 2**64


class Reason(StrEnum):
    """Why a replica got a request.

    Attributes:
        ONLY: No other replica could take it.
        AFFINITY: Requests with the same first image prefer this replica.
        OVERFLOW: The replica that they prefer had more than its share of the requests.
        LOAD: It had fewer requests in flight than another one, drawn at random.
        TRIAL: It is ejected, and this request decides whether it is restored.
    """

    ONLY = "only"
    AFFINITY = "affinity"
    OVERFLOW = "overflow"
    LOAD = "load"
    TRIAL = "trial"


class Candidate(Protocol):
    """What the rules need to know about a replica."""

    @property
    def name(self) -> str:
        """Unique among the candidates; the same in every process."""

    @property
    def weight(self) -> float:
        """Its share of the requests, relative to the other weights, above 0."""

    @property
    def in_flight(self) -> int:
        """Requests that were sent to it and have not ended."""

    @property
    def full(self) -> bool:
        """Whether it is at its limit."""


_Candidate = TypeVar("_Candidate", bound=Candidate)


def choose(
    candidates: Sequence[_Candidate], key: str | None, dice: random.Random
) -> tuple[_Candidate, Reason] | None:
    """The candidate that takes the next request, and why; None when all are full.

    Args:
        candidates: The healthy replicas, full ones included: they count towards the fair share.
        key: Requests with the same key prefer the same replica; None for no preference.
        dice: The random numbers for the power of two choices.
    """
    if key is not None and len(candidates) > 1:
        preferred = by_affinity(candidates, key)
        if preferred is not None:
            return preferred
    free = [candidate for candidate in candidates if not candidate.full]
    if not free:
        return None
    return by_load(free, dice), Reason.ONLY if len(free) == 1 else Reason.LOAD


def by_affinity(candidates: Sequence[_Candidate], key: str) -> tuple[_Candidate, Reason] | None:
    """The first candidate in the key's order that is below its bound and not full, or None."""
    in_flight = sum(candidate.in_flight for candidate in candidates)
    weights = sum(candidate.weight for candidate in candidates)
    order = sorted(candidates, key=lambda replica: _score(replica, key), reverse=True)
    for candidate in order:
        bound = math.ceil(LOAD_FACTOR * (in_flight + 1) * candidate.weight / weights)
        if candidate.in_flight < bound and not candidate.full:
            return candidate, Reason.AFFINITY if candidate is order[0] else Reason.OVERFLOW
    return None


def by_load(candidates: Sequence[_Candidate], dice: random.Random) -> _Candidate:
    """The less loaded of two candidates drawn by weight; the first drawn when they are equal."""
    if len(candidates) == 1:
        return candidates[0]
    first = _draw(candidates, dice)
    second = _draw([candidate for candidate in candidates if candidate is not first], dice)
    return min(first, second, key=lambda replica: replica.in_flight / replica.weight)


def _draw(candidates: Sequence[_Candidate], dice: random.Random) -> _Candidate:
    return dice.choices(candidates, [candidate.weight for candidate in candidates])[0]


def _score(candidate: Candidate, key: str) -> float:
    """A score from key and name: an exponential variate of rate `1 / weight`.

    So the probability of the highest score is the replica's share of the weights.
    """
    text = f"{candidate.name}\0{key}".encode()
    drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
    return -candidate.weight / math.log((drawn + 0.5) / _SCORES)
