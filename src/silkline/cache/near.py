"""Near duplicates: another photograph, size or encoding of an image that was asked about before.

A 64-bit perceptual digest changes little when an image changes little, so a small Hamming distance
between two digests suggests the same subject. It does not prove it, so this is off by default, is
used only if everything else in the request is the same, and checks itself: for a share of its hits,
the answer is computed anyway and compared.

The nearest digest is found exactly, by multi-index hashing: two digests that differ in at most
`distance` bits agree in at least one of `distance + 1` bands of bits (the pigeonhole principle).
For each band the digests are kept in a sorted array, rotated so that the band comes first; digests
with the same band are adjacent. M. Norouzi, A. Punjani, D. J. Fleet: "Fast Exact Search in Hamming
Space with Multi-Index Hashing", https://arxiv.org/abs/1307.2982.
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
"""In bits; at larger distances most digests have near neighbours, whatever the images show."""

MAX_ENTRIES = 32_768
"""Maximum remembered images; the oldest are dropped for newer ones.

They take 10 MB, or 45 MB if each has a context of its own.
"""

_MASK = (1 << DIGEST_BITS) - 1
_TYPE = "Q"  # 64 bits, unsigned


@dataclass(frozen=True, slots=True)
class NearSnapshot:
    """Counts of near-duplicate hits since the start.

    Attributes:
        entries: Remembered images.
        hits: Answers that were found through a near duplicate.
        samples: Hits whose answer was computed anyway and compared.
        false_hits: Samples whose computed answer was different.
    """

    entries: int
    hits: int
    samples: int
    false_hits: int


class NearDuplicates:
    """Finds near duplicates of an image; used by one thread.

    Each remembered image belongs to a context: a digest of everything else that determines the
    answer. Images of different contexts never match.
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
        """Starts empty.

        Args:
            distance: Maximum bits in which two digests may differ, 0 to `MAX_DISTANCE`.
            sample: Share of the hits whose answer is computed anyway, 0.0 to 1.0.
            ttl_seconds: How long an image is remembered: the lifetime of an answer.
            draw: Gives random numbers from 0.0 to 1.0.
            clock: Monotonic seconds.
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
        """The key of the nearest image's answer; None if none is near enough.

        Args:
            context: The key of everything else that determines the answer.
            perceptual: The image's 64-bit perceptual digest.
        """
        self._drop_expired()
        digests = self._contexts.get(context)
        nearest = None if digests is None else digests.nearest(perceptual)
        return None if nearest is None else self._entries[context, nearest].key

    def remember(self, context: bytes, perceptual: int, key: bytes) -> None:
        """Remembers that an image's answer is stored under `key`; replaces an older key."""
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
        """Counts a hit; returns whether to compute its answer anyway."""
        self._hits += 1
        return self._draw() < self._sample

    def verified(self, agreed: bool) -> None:  # noqa: FBT001 - its only argument
        """Counts a sampled hit whose answer was computed.

        Args:
            agreed: Whether both answers have the same text. Cached answers are deterministic, so
                only equal texts count as the same answer.
        """
        self._samples += 1
        self._false_hits += not agreed

    def snapshot(self) -> NearSnapshot:
        """A snapshot of the counts; never waits."""
        return NearSnapshot(len(self._entries), self._hits, self._samples, self._false_hits)

    def _drop_expired(self) -> None:
        # All images are remembered for the same time, so the oldest expire first.
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
        """The digest that differs from `digest` in the fewest bits; None above the distance."""
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
    """A range of bits of the digests.

    Attributes:
        start: The index of its first bit, from the left.
        digests: The digests, sorted, rotated so that these bits come first.
    """

    __slots__ = ("_rest", "digests", "start")

    def __init__(self, start: int, width: int) -> None:
        self.start = start
        self.digests = array(_TYPE)
        self._rest = DIGEST_BITS - width

    def sharing(self, rotated: int) -> array[int]:
        """The digests with the same bits in this band."""
        minimum = rotated >> self._rest << self._rest
        begin = bisect_left(self.digests, minimum)
        end = bisect_left(self.digests, minimum + (1 << self._rest), begin)
        return self.digests[begin:end]


def _bands(count: int) -> Iterator[_Band]:
    """Splits the bits into `count` bands of nearly the same width."""
    starts = [index * DIGEST_BITS // count for index in range(count + 1)]
    return (_Band(start, end - start) for start, end in pairwise(starts))


def _rotate(digest: int, bits: int) -> int:
    """Rotates a 64-bit digest to the left."""
    return (digest << bits | digest >> (DIGEST_BITS - bits)) & _MASK
