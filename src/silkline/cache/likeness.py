"""Looks up the answer of a near-duplicate image for one request."""

from __future__ import annotations

from silkline.cache.near import NearDuplicates
from silkline.cache.tiered import TieredCache
from silkline.core import Answer


class NearDuplicateLookup:
    """Finds the answer of a near-duplicate image, and remembers the image of a new answer."""

    def __init__(
        self, near: NearDuplicates, tiers: TieredCache, context: bytes, perceptual: int
    ) -> None:
        """Takes what the lookup needs.

        Args:
            near: The remembered images.
            tiers: The tiers with their answers.
            context: The key of everything else that determines the answer (see `context_key`).
            perceptual: The perceptual digest of the request's image.
        """
        self._near = near
        self._tiers = tiers
        self._context = context
        self._perceptual = perceptual
        self._to_verify: Answer | None = None

    async def answer(self) -> Answer | None:
        """The answer of a near duplicate; None if there is none, or it must be verified."""
        key = self._near.find(self._context, self._perceptual)
        if key is None:
            return None
        answer = await self._tiers.get_first(key) or await self._tiers.get_lower(key)
        if answer is None or not self._near.sampled():
            return answer
        self._to_verify = answer
        return None

    def computed(self, key: bytes, answer: Answer) -> None:
        """Remembers the image, whose computed answer is stored under `key`."""
        if self._to_verify is not None:
            self._near.verified(self._to_verify.text == answer.text)
        self._near.remember(self._context, self._perceptual, key)
