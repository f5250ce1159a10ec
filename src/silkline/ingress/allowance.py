"""Limits on the total bytes and pixels of the images in one request."""

from __future__ import annotations

from silkline.errors import ImageTooLarge, InputError, RequestTooLarge


class Allowance:
    """Counts bytes or pixels against a maximum."""

    def __init__(self, maximum: int, unit: str, error: type[InputError]) -> None:
        """Sets the maximum, the name of its unit, and the error raised above it."""
        self._maximum = maximum
        self._left = maximum
        self._unit = unit
        self._error = error

    @classmethod
    def of_bytes(cls, maximum: int) -> Allowance:
        """An allowance for the encoded bytes of a request."""
        return cls(maximum, "bytes", RequestTooLarge)

    @classmethod
    def of_pixels(cls, maximum: int) -> Allowance:
        """An allowance for the pixels of a request, counted before any pixel budget."""
        return cls(maximum, "pixels", ImageTooLarge)

    def take(self, count: int) -> None:
        """Uses `count` bytes or pixels of the allowance.

        Raises:
            RequestTooLarge: Fewer bytes than `count` are left.
            ImageTooLarge: Fewer pixels than `count` are left.
        """
        self._left -= count
        if self._left < 0:
            raise self._error(
                f"The images of the request have more than {self._maximum} {self._unit} "
                "together. Send fewer or smaller images."
            )
