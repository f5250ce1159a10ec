"""Structured logs: one JSON line an event, with the field names of the Elastic Common Schema.

https://www.elastic.co/docs/reference/ecs. Text that came from outside is escaped by JSON, so that
an event is always one line. Values that could hold a key, a picture or a prompt are not logged.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from silkline.config import LogSettings
from silkline.observe.tracebacks import PrivateFormatter

FIELDS = "ecs"
"""Name of the `extra` under which a log call passes its ECS fields."""

_STACK_TRACE = "error.stack_trace"
_CLIENT_FAULT_LOGGERS = ("uvicorn.error", "python_multipart")
"""They warn of what clients do wrong, line by line; the access log has it in one."""


class EcsFormatter(PrivateFormatter):
    """Renders a record as one ECS JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, logger and message, and the fields it was given."""
        event: dict[str, Any] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "log.level": record.levelname.lower(),
            "log.logger": record.name,
            "message": self.message(record),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            event[_STACK_TRACE] = self.formatException(record.exc_info)
        return json.dumps(event)  # plain ASCII: no line separator of Unicode gets through


class TextFormatter(PrivateFormatter):
    """Renders a record for a person: the message and its fields in one line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Like the standard formatter, with the fields behind the message."""
        fields = dict(getattr(record, FIELDS, {}))
        trace = fields.pop(_STACK_TRACE, None)
        tail = "".join(f" {name}={value!r}" for name, value in fields.items())
        return super().format(record) + tail + (f"\n{trace}" if trace else "")


def configure_logging(settings: LogSettings) -> None:
    """Sends all logs to standard error; called once, by the command line.

    Silkline's own loggers write from `log_level` up, those of libraries only warnings and errors.
    """
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if as_text else EcsFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("silkline").setLevel(settings.log_level.upper())
    for noisy in _CLIENT_FAULT_LOGGERS:
        logging.getLogger(noisy).setLevel(logging.ERROR)
