"""What the pictures of one request may have together."""

from __future__ import annotations

from silkline.errors import ImageTooLarge, InputError, RequestTooLarge


class Allowance:
    """So many bytes, or pixels, of which each picture takes some."""

    def __init__(self, maximum: int, unit: str, error: type[InputError]) -> None:
        """Takes the most that there may be, its unit in words, and what says that it is more."""
        self._maximum = maximum
        self._left = maximum
        self._unit = unit
        self._error = error

    @classmethod
    def of_bytes(cls, maximum: int) -> Allowance:
        """The encoded bytes of a request."""
        return cls(maximum, "bytes", RequestTooLarge)

    @classmethod
    def of_pixels(cls, maximum: int) -> Allowance:
        """The pixels of a request before any budget."""
        return cls(maximum, "pixels", ImageTooLarge)

    def take(self, count: int) -> None:
        """Counts some as used.

        Raises:
            RequestTooLarge: They are more bytes than are left.
            ImageTooLarge: They are more pixels than are left.
        """
        self._left -= count
        if self._left < 0:
            raise self._error(
                f"The pictures of the request have more than {self._maximum} {self._unit} together. "
                "Send fewer or smaller ones."
            )
