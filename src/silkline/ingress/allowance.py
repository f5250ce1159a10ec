"""What the pictures of one request may have together."""

from __future__ import annotations

from silkline.errors import ImageTooLarge, RequestTooLarge


class ByteAllowance:
    """The encoded bytes of a request."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._left = max_bytes

    def take(self, count: int) -> None:
        """Counts bytes as used.

        Raises:
            RequestTooLarge: They are more than are left.
        """
        self._left -= count
        if self._left < 0:
            raise RequestTooLarge(
                f"The pictures of the request have more than {self._max} bytes together. Send "
                "fewer or smaller ones."
            )


class PixelAllowance:
    """The pixels of a request before any budget."""

    def __init__(self, max_pixels: int) -> None:
        self._max = max_pixels
        self._left = max_pixels

    def take(self, count: int) -> None:
        """Counts pixels as used.

        Raises:
            ImageTooLarge: They are more than are left.
        """
        self._left -= count
        if self._left < 0:
            raise ImageTooLarge(
                f"The pictures of the request have more than {self._max} pixels together. Send "
                "fewer or smaller ones."
            )
