"""What a request is told when OpenVINO fails on it."""

from __future__ import annotations

from silkline.engines.memory import too_little_memory
from silkline.errors import InvalidRequest, SilklineError

IMAGE_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
)
"""What OpenVINO and the libraries before it raise on pictures that they cannot process."""

_NO_MEMORY = ("Failed to allocate", "bad_alloc")
"""In the message of OpenVINO's error when the memory is short, which has no class of its own."""


def refusal(error: Exception, otherwise: str) -> SilklineError:
    """What to tell the client.

    Args:
        error: What OpenVINO, or a library before it, raised.
        otherwise: The message where it was not the memory.
    """
    if isinstance(error, MemoryError) or any(each in str(error) for each in _NO_MEMORY):
        return too_little_memory()
    return InvalidRequest(otherwise)
