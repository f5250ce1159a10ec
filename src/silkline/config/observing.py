"""The settings of logs and traces."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from silkline.config.sections import MIB, Section

MIN_QUEUE_BYTES = 64 * 1024
"""Minimum of `log_queue_bytes`."""


def _server_url(text: str) -> str:
    """Checks the URL of a server; empty means none.

    Raises:
        ValueError: It is not an http or https URL, or has more than scheme, host, port and path.
    """
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://host:port or https://host:port")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("expected no user, password, query or fragment in the URL")
    _ = parts.port  # raises ValueError for an invalid port
    return text.rstrip("/")


_ServerUrl = Annotated[str, AfterValidator(_server_url)]


class LogSettings(Section):
    """Level and format of the logs, and their shipping; see `docs/logs.md`."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level that is logged: debug, info, warning or error."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto",
        description="json: one line of ECS JSON per event; text: human-readable; auto: text on a "
        "terminal, json elsewhere.",
    )
    log_ship_url: _ServerUrl = Field(
        "",
        description="URL of an Elasticsearch or OpenSearch that gets all events; empty ships none.",
    )
    log_ship_key_env: str = Field(
        "",
        description="Environment variable with the key for it: an API key, or `user:password`.",
    )
    log_ship_key_file: str = Field("", description="File with that key.")
    log_stream: str = Field(
        "logs-silkline-default",
        pattern=r"^[a-z][a-z0-9_.-]{0,99}$",
        description="Data stream (or index) that the events go to.",
    )
    log_setup: Literal["none", "elasticsearch", "opensearch"] = Field(
        "none",
        description="Install the index template and the lifecycle policy when shipping starts, for "
        "a server of this kind.",
    )
    log_spool: str = Field(
        "",
        description="Folder on a local disk that keeps events until they are shipped; needed for "
        "shipping.",
    )
    log_spool_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Maximum bytes of events in that folder; beyond them, new events are dropped.",
    )
    log_queue_bytes: int = Field(
        8 * MIB,
        ge=MIN_QUEUE_BYTES,
        description="Maximum bytes of events in memory that wait for the disk.",
    )
    log_bulk_bytes: int = Field(
        2 * MIB,
        ge=64 * 1024,
        le=64 * MIB,
        description="Approximate maximum bytes of a bulk request to the log server.",
    )

    @model_validator(mode="after")
    def _can_ship(self) -> LogSettings:
        if self.log_ship_url and not self.log_spool:
            raise ValueError("log_ship_url needs log_spool, a folder on a local disk")
        if self.log_ship_key_env and self.log_ship_key_file:
            raise ValueError("expected at most one of log_ship_key_env and log_ship_key_file")
        return self


class TraceSettings(Section):
    """Traces of requests, sent to an OpenTelemetry collector; see `docs/traces.md`."""

    trace_url: _ServerUrl = Field(
        "",
        description="URL of a collector that takes OTLP over HTTP, such as http://localhost:4318; "
        "empty turns traces off.",
    )
    trace_ratio: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of the traces that are kept of ordinary requests. Those of errors, of "
        "slow requests and of clients that sample are always kept.",
    )
    trace_slow: float = Field(
        10.0, ge=0, description="Seconds from which on a request is slow, and its trace kept."
    )
