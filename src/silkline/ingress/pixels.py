"""The range of pixels that a client wants an image to have."""

from __future__ import annotations

from dataclasses import dataclass, replace

from silkline.core import PixelBudget


@dataclass(frozen=True, slots=True)
class PixelRange:
    """How many pixels an image should have, within the model's pixel budget.

    Attributes:
        min_pixels: An image with fewer pixels is enlarged; 0 enlarges none.
        max_pixels: An image with more pixels is reduced, at least 1; None means the model's budget.
    """

    min_pixels: int = 0
    max_pixels: int | None = None

    def within(self, budget: PixelBudget) -> PixelBudget:
        """The image's own pixel budget; it never exceeds `budget`."""
        maximum = budget.max_pixels
        if self.max_pixels is not None:
            maximum = min(maximum, self.max_pixels)
        return replace(budget, max_pixels=maximum, min_pixels=min(self.min_pixels, maximum))

    def expected(self, pixels: int | None) -> int | None:
        """Pixels of the image in this range; None if nothing is known.

        Args:
            pixels: Its pixels before any change; None if unknown.
        """
        if pixels is None:
            return self.max_pixels
        pixels = max(pixels, self.min_pixels)
        return pixels if self.max_pixels is None else min(pixels, self.max_pixels)


ANY_PIXELS = PixelRange()
"""The range of an image whose client asks for nothing."""
