"""Nearly the same picture: another photograph, size or encoding of what was asked about before.

A perceptual digest of 64 bits changes little where a picture changes little, so a small Hamming
distance between two digests suggests the same motif. It does not prove it, which is why this is off
by default, takes part only where everything else of the question is the same, and checks itself:
of a share of its hits the answer is computed all the same and compared.

The nearest digest is found exactly, by multi-index hashing: digests of at most `distance` different
bits agree in at least one of `distance + 1` bands of bits (the pigeonhole principle). For each
band the digests stand sorted, rotated so that the band leads; those that share it with a digest
are neighbours. M. Norouzi, A. Punjani, D. J. Fleet: "Fast Exact Search in Hamming Space with
Multi-Index Hashing", https://arxiv.org/abs/1307.2982.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import random

DIGEST_BITS = 64

MAX_DISTANCE = 8
"""Bits; at larger distances most digests have near neighbours, whatever they show."""

MAX_ENTRIES = 32_768
"""Pictures that are remembered; the oldest leave for newer ones.

They take 10 MB, and 45 MB where each has a context of its own.
"""

_MASK = (1 << DIGEST_BITS) - 1
_TYPE = "Q"  # 64 bits, unsigned


@dataclass(frozen=True, slots=True)
class NearSnapshot:
    """How often pictures were taken for one another; counts are since the start.

    Attributes:
        entries: Pictures that are remembered.
        hits: Answers that were found by a similar picture.
        samples: Hits that were computed all the same and compared.
        false_hits: Samples whose computed answer was another one.
    """

    entries: int
    hits: int
    samples: int
    false_hits: int


class NearDuplicates:
    """Finds the answer of a similar picture; used by one thread.

    What is remembered belongs to a context: a digest of everything that the answer follows from,
    but for the picture. Pictures of two contexts are never taken for one another.
    """

    def __init__(
        self,
        distance: int,
        sample: float,
        *,
        ttl_seconds: float,
        draw: Callable[[], float] = random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remembers nothing yet.

        Args:
            distance: Most bits in which two digests may differ, 0 to `MAX_DISTANCE`.
            sample: Share of the hits that are computed all the same, 0.0 to 1.0.
            ttl_seconds: How long a picture is remembered, as long as answers are good.
            draw: Gives numbers from 0.0 to 1.0.
            clock: Seconds that never go back.
        """
        self._distance = distance
        self._sample = sample
        self._ttl = ttl_seconds
        self._draw = draw
        self._clock = clock
        self._contexts: dict[bytes, _Digests] = {}
        self._entries: OrderedDict[tuple[bytes, int], _Entry] = OrderedDict()
        self._hits = self._samples = self._false_hits = 0

    def find(self, context: bytes, perceptual: int) -> bytes | None:
        """The key of the nearest picture's answer; None when none is near enough.

        Args:
            context: What the answer follows from besides the picture.
            perceptual: The picture's perceptual digest, of 64 bits.
        """
        self._drop_expired()
        digests = self._contexts.get(context)
        nearest = None if digests is None else digests.nearest(perceptual)
        return None if nearest is None else self._entries[context, nearest].key

    def remember(self, context: bytes, perceptual: int, key: bytes) -> None:
        """Notes that the answer to a picture is kept under `key`, in place of an older one."""
        if self._ttl <= 0:
            return
        self._drop_expired()
        self._remove(context, perceptual)
        digests = self._contexts.setdefault(context, _Digests(self._distance))
        digests.add(perceptual)
        self._entries[context, perceptual] = _Entry(key, self._clock() + self._ttl)
        if len(self._entries) > MAX_ENTRIES:
            self._remove(*next(iter(self._entries)))

    def sampled(self) -> bool:
        """Counts a hit, and says whether to compute its answer all the same."""
        self._hits += 1
        return self._draw() < self._sample

    def verified(self, agreed: bool) -> None:  # noqa: FBT001 - the one thing that it is told
        """Counts a sampled hit whose answer was computed.

        Args:
            agreed: Whether both answers have the same text. Answers in the cache are
                deterministic, so that nothing weaker is the same answer.
        """
        self._samples += 1
        self._false_hits += not agreed

    def snapshot(self) -> NearSnapshot:
        """How it gets on; never waits."""
        return NearSnapshot(len(self._entries), self._hits, self._samples, self._false_hits)

    def _drop_expired(self) -> None:
        # All are remembered for the same time, so the oldest expire first.
        now = self._clock()
        while self._entries:
            name, entry = next(iter(self._entries.items()))
            if entry.expires > now:
                return
            self._remove(*name)

    def _remove(self, context: bytes, perceptual: int) -> None:
        if self._entries.pop((context, perceptual), None) is None:
            return
        digests = self._contexts[context]
        digests.remove(perceptual)
        if not digests:
            del self._contexts[context]


@dataclass(frozen=True, slots=True)
class _Entry:
    key: bytes
    expires: float


class _Digests:
    """The digests of one context, sorted by each band."""

    def __init__(self, distance: int) -> None:
        self._distance = distance
        self._bands = tuple(_bands(distance + 1))

    def __len__(self) -> int:
        return len(self._bands[0].digests)

    def add(self, digest: int) -> None:
        for band in self._bands:
            rotated = _rotate(digest, band.start)
            band.digests.insert(bisect_left(band.digests, rotated), rotated)

    def remove(self, digest: int) -> None:
        for band in self._bands:
            del band.digests[bisect_left(band.digests, _rotate(digest, band.start))]

    def nearest(self, digest: int) -> int | None:
        """The digest that differs least from `digest`, in at most the distance."""
        minimum, nearest = self._distance + 1, None
        for band in self._bands:
            rotated = _rotate(digest, band.start)
            for other in band.sharing(rotated):
                differing = (rotated ^ other).bit_count()
                if differing < minimum:
                    minimum, nearest = differing, _rotate(other, DIGEST_BITS - band.start)
            if minimum == 0:
                break
        return nearest


class _Band:
    """Some bits of the digests.

    Attributes:
        start: The index of the first one, counted from the left.
        digests: The digests in order, rotated so that these bits lead.
    """

    __slots__ = ("_rest", "digests", "start")

    def __init__(self, start: int, width: int) -> None:
        self.start = start
        self.digests = array(_TYPE)
        self._rest = DIGEST_BITS - width

    def sharing(self, rotated: int) -> array[int]:
        """Those whose bits of this band are the same."""
        minimum = rotated >> self._rest << self._rest
        begin = bisect_left(self.digests, minimum)
        end = bisect_left(self.digests, minimum + (1 << self._rest), begin)
        return self.digests[begin:end]


def _bands(count: int) -> Iterator[_Band]:
    """All bits in so many bands of nearly the same width."""
    starts = [index * DIGEST_BITS // count for index in range(count + 1)]
    return (_Band(start, end - start) for start, end in pairwise(starts))


def _rotate(digest: int, bits: int) -> int:
    """Moves bits from the left end of 64 to the right one."""
    return (digest << bits | digest >> (DIGEST_BITS - bits)) & _MASK
