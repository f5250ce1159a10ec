"""What a request is told when there is not enough memory for its pictures."""

from __future__ import annotations

from silkline.errors import Overloaded


def too_little_memory() -> Overloaded:
    """The error: not the client's fault, and gone when others have left."""
    return Overloaded(
        "There was not enough memory for the pictures of this request. Try again, or send "
        "fewer or smaller ones."
    )
