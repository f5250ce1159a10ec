"""The errors for requests on which OpenVINO fails."""

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
"""Exceptions that OpenVINO and its preprocessing raise on images that they cannot process."""

_NO_MEMORY = ("Failed to allocate", "bad_alloc")
"""Parts of the message of OpenVINO's out-of-memory error, which has no class of its own."""


def refusal(error: Exception, otherwise: str) -> SilklineError:
    """The error for the client.

    Args:
        error: The exception of OpenVINO or its preprocessing.
        otherwise: The message if the cause was not a lack of memory.
    """
    if isinstance(error, MemoryError) or any(text in str(error) for text in _NO_MEMORY):
        return too_little_memory()
    return InvalidRequest(otherwise)
