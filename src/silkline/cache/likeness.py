"""What one question has to do with pictures that are like its own."""

from __future__ import annotations

from silkline.cache.near import NearDuplicates
from silkline.cache.tiered import TieredCache
from silkline.core import Answer


class Likeness:
    """Finds the answer of a similar picture, and learns from the one that is computed."""

    def __init__(
        self, near: NearDuplicates, tiers: TieredCache, context: bytes, perceptual: int
    ) -> None:
        """Looks for nothing yet.

        Args:
            near: The pictures that are remembered.
            tiers: Where their answers are.
            context: What the answer follows from besides the picture.
            perceptual: The perceptual digest of the question's picture.
        """
        self._near = near
        self._tiers = tiers
        self._context = context
        self._perceptual = perceptual
        self._to_verify: Answer | None = None

    async def answer(self) -> Answer | None:
        """A similar picture's answer; None where there is none, or it is to be verified."""
        key = self._near.find(self._context, self._perceptual)
        if key is None:
            return None
        answer = await self._tiers.get_near(key) or await self._tiers.get_further(key)
        if answer is None or not self._near.sampled():
            return answer
        self._to_verify = answer
        return None

    def computed(self, key: bytes, answer: Answer) -> None:
        """Remembers the picture by the answer that was computed for it and is kept under `key`."""
        if self._to_verify is not None:
            self._near.verified(self._to_verify.text == answer.text)
        self._near.remember(self._context, self._perceptual, key)
