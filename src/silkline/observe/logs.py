"""Structured logs: one line of JSON per event, with field names of the Elastic Common Schema.

https://www.elastic.co/docs/reference/ecs. JSON escapes external text, so an event is always one
line. Values that could contain a key, an image or a prompt are not logged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from silkline.config import LogSettings
from silkline.observe.shipping.documents import setup_documents
from silkline.observe.shipping.handler import ShippingHandler, ShippingSnapshot
from silkline.observe.tracebacks import PrivateFormatter

FIELDS = "ecs"
"""Key of `extra` with which a log call passes its ECS fields."""

_LINE = "ecs_line"
_STACK_TRACE = "error.stack_trace"
_UNUSED = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks")
"""What `logging` finds out for each event and no format here has: it takes longer than the rest.
https://docs.python.org/3/howto/logging.html#optimization"""

_CLIENT_FAULT_LOGGERS = ("uvicorn.error", "python_multipart")
"""Loggers that warn about clients' mistakes in several lines; the access log has one line."""


class EcsFormatter(PrivateFormatter):
    """Formats a record as one line of ECS JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record's time, level, logger, message and ECS fields.

        Standard error and the shipping both need the line: it is kept in the record.
        """
        line: str | None = getattr(record, _LINE, None)
        if line is None:
            line = self._line(record)
            setattr(record, _LINE, line)
        return line

    def _line(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "log.level": record.levelname.lower(),
            "log.logger": record.name,
            "message": self.message(record),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            event[_STACK_TRACE] = self.formatException(record.exc_info)
        return json.dumps(event)  # ASCII only, so no Unicode line separators


class TextFormatter(PrivateFormatter):
    """Formats a record as human-readable text: the message and its fields in one line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Formats as the standard formatter, then appends the ECS fields."""
        fields = dict(getattr(record, FIELDS, {}))
        trace = fields.pop(_STACK_TRACE, None)
        tail = "".join(f" {name}={value!r}" for name, value in fields.items())
        return super().format(record) + tail + (f"\n{trace}" if trace else "")


def _with_fields(fields: Mapping[str, Any]) -> Callable[[logging.LogRecord], bool]:
    """A filter that adds these ECS fields to each record."""

    def add(record: logging.LogRecord) -> bool:
        setattr(record, FIELDS, {**fields, **getattr(record, FIELDS, {})})
        return True

    return add


def chosen_format(settings: LogSettings) -> Literal["json", "text"]:
    """The format of the log; `auto` depends on whether standard error is a terminal."""
    if settings.log_format != "auto":
        return settings.log_format
    return "text" if sys.stderr.isatty() else "json"


def configure_logging(settings: LogSettings, fields: Mapping[str, Any] | None = None) -> None:
    """Sends all logs to standard error, with these ECS fields, and ships them if that is set.

    Each process calls it once. Silkline's loggers use `log_level`; those of libraries log only
    warnings and errors.

    Raises:
        ConfigError: The log server's key cannot be read.
        EnvironmentFault: The spool of the logs cannot be opened.
    """
    for name in _UNUSED:
        setattr(logging, name, None)
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(TextFormatter() if chosen_format(settings) == "text" else EcsFormatter())
    handlers: list[logging.Handler] = [output]
    if settings.log_ship_url:
        handlers.append(_shipping(settings))
    for handler in handlers:
        if fields:
            handler.addFilter(_with_fields(fields))
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(logging.WARNING)
    logging.getLogger("silkline").setLevel(settings.log_level.upper())
    for noisy in _CLIENT_FAULT_LOGGERS:
        logging.getLogger(noisy).setLevel(logging.ERROR)


def shipping_snapshot() -> ShippingSnapshot | None:
    """Returns the state of the shipping of this process's logs; None if it ships none."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ShippingHandler):
            return handler.snapshot()
    return None


def _shipping(settings: LogSettings) -> ShippingHandler:
    handler = ShippingHandler(settings, os.environ, setup_documents(settings))
    handler.setFormatter(EcsFormatter())
    return handler
