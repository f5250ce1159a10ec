"""Stack traces that tell where and what, and nothing that a client sent.

The text of an exception can hold anything: a `KeyError` says its key, a decoder quotes its input.
So logs name the exception and the lines that it came through; its text they give only where it is
Silkline's own or the operating system's.
"""

from __future__ import annotations

import logging
import os
import traceback
from types import TracebackType

from silkline.errors import ConfigError, EnvironmentFault, InternalFault

_OWN = (ConfigError, EnvironmentFault, InternalFault)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PrivateFormatter(logging.Formatter):
    """A formatter whose stack traces are those of `trace`."""

    def format(self, record: logging.LogRecord) -> str:
        """As the standard formatter does, but for a trace that another one has left."""
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - the name is logging's
        """The trace of the exception that a record carries."""
        return "" if ei[1] is None else trace(ei[1])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The message with what the format puts around it."""
        record.message = self.message(record)
        return super().formatMessage(record)

    def message(self, record: logging.LogRecord) -> str:
        """A record's message; of asyncio's only the first line, for the others show exceptions."""
        message = record.getMessage()
        return message.partition("\n")[0] if record.name == "asyncio" else message


def trace(exception: BaseException) -> str:
    """Where an exception was raised and of what kind it is; what led to it comes first."""
    parts: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = exception
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        parts.append("".join(traceback.format_tb(at.__traceback__)) + _name(at))
        parts += [trace(one) for one in getattr(at, "exceptions", ())]
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\n\n".join(reversed(parts))


def _name(exception: BaseException) -> str:
    kind = type(exception).__qualname__
    if isinstance(exception, _OWN):
        return f"{kind}: {exception.message}"
    if isinstance(exception, OSError) and exception.errno is not None:
        return f"{kind}: {os.strerror(exception.errno)}"
    return kind
