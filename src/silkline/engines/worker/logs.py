"""Sends a worker's log to its parent: one line of JSON per record, on standard error.

The parent logs each record again, at the record's level. Other lines come from native libraries.
"""

from __future__ import annotations

import logging
import sys

import msgspec

from silkline.errors import UNDECODABLE
from silkline.observe.tracebacks import PrivateFormatter

FIELDS = "ecs"
"""Key of `extra` with a record's ECS fields, as in `silkline.observe.logs`. That is not imported
here, since the worker must not load the libraries of the settings."""

MAX_CHARACTERS = 16_000
"""Maximum length of a message or a stack trace; only the end is kept, since it names the cause."""

MAX_LINE_BYTES = 256 * 1024
"""More than any record needs: a character takes at most six bytes."""


class _Line(msgspec.Struct, tag="silkline.log", forbid_unknown_fields=True, omit_defaults=True):
    level: int
    logger: str
    message: str
    fields: dict[str, str | int | float | bool | None] = {}
    stack_trace: str = ""


class LineFormatter(PrivateFormatter):
    """Formats a record as a line for `relay`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's level, logger, message, fields and stack trace, as JSON."""
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        fields = {
            str(name): value if isinstance(value, str | int | float | None) else repr(value)
            for name, value in getattr(record, FIELDS, {}).items()
        }
        line = _Line(
            record.levelno,
            record.name,
            _limited(self.message(record)),
            fields,
            _limited(trace),
        )
        return msgspec.json.encode(line).decode()


def configure_worker_logging() -> None:
    """Sends all logs to standard error, as lines for the parent; the worker calls it once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def relay(line: bytes, pid: int, *, foreign: logging.Logger, foreign_level: int) -> None:
    """Logs a line of a worker's standard error.

    Args:
        line: The line, without its end.
        pid: The worker's process id, logged as `process.pid`.
        foreign: The logger for lines that are not records.
        foreign_level: The level of those lines.
    """
    try:
        record = msgspec.json.decode(line, type=_Line)
    except UNDECODABLE:
        text = line.decode("utf-8", "replace")
        foreign.log(foreign_level, "%s", text, extra={FIELDS: {"process.pid": pid}})
        return
    fields = {**record.fields, "process.pid": pid}
    if record.stack_trace:
        fields["error.stack_trace"] = record.stack_trace
    logging.getLogger(record.logger).log(record.level, "%s", record.message, extra={FIELDS: fields})


def _limited(text: str) -> str:
    """The last `MAX_CHARACTERS` of a text, without unpaired surrogates."""
    return text[-MAX_CHARACTERS:].encode("utf-8", "replace").decode()
