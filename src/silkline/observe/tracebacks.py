"""Stack traces without client data.

The text of an exception can contain anything: a `KeyError` has its key, a decoder quotes its input.
So logs have the exception's class and its stack; they have its text only if it comes from Silkline
or the operating system.
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
    """A log formatter whose stack traces have no client data."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record, but discards a trace that another formatter cached in it."""
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - the name is logging's
        """Formats an exception with `trace`."""
        return "" if ei[1] is None else trace(ei[1])

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Formats a record's message, with what the format string adds."""
        record.message = self.message(record)
        return super().formatMessage(record)

    def message(self, record: logging.LogRecord) -> str:
        """Returns a record's message; of asyncio's only the first line, without exceptions."""
        message = record.getMessage()
        return message.partition("\n")[0] if record.name == "asyncio" else message


def trace(exception: BaseException) -> str:
    """Formats an exception's stack and class, after those of its causes."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = exception
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        parts.append("".join(traceback.format_tb(current.__traceback__)) + _name(current))
        parts += [trace(member) for member in getattr(current, "exceptions", ())]
        cause, context = current.__cause__, current.__context__
        current = cause or (None if current.__suppress_context__ else context)
    return "\n\n".join(reversed(parts))


def _name(exception: BaseException) -> str:
    kind = type(exception).__qualname__
    if isinstance(exception, _OWN):
        return f"{kind}: {exception.message}"
    if isinstance(exception, OSError) and exception.errno is not None:
        return f"{kind}: {os.strerror(exception.errno)}"
    return kind
