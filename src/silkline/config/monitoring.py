"""Settings of the service level objectives, and of what watches a server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from silkline.config.sections import Section

_Objective = Annotated[float, Field(gt=0, lt=1)]


class SloSettings(Section):
    """Service level objectives, which metrics count and alerts watch; see `docs/monitoring.md`."""

    slo_availability: _Objective = Field(
        0.995, description="Share of the questions that the server must not fail (5xx)."
    )
    slo_latency_seconds: float = Field(
        10.0, gt=0, description="Seconds within which a complete answer counts as fast."
    )
    slo_latency_share: _Objective = Field(
        0.95, description="Share of the complete answers that must be fast."
    )
    slo_first_token_seconds: float = Field(
        3.0, gt=0, description="Seconds within which the first token of a stream counts as fast."
    )
    slo_first_token_share: _Objective = Field(
        0.95, description="Share of the streams whose first token must be fast."
    )
    slo_min_misses: int = Field(
        10,
        ge=1,
        description="Questions that must have missed an objective in the longer window before its "
        "alert fires, so that single failures in a quiet night alert nobody.",
    )


class MonitoringSettings(Section):
    """What `silkline render` writes for Prometheus, Alertmanager and Grafana."""

    scrape_targets: tuple[str, ...] = Field(
        (),
        description="host:port of each gateway that Prometheus scrapes; empty means `upstreams`, "
        "else `host` and `port`.",
    )
    scrape_key_file: str = Field(
        "",
        description="File, on Prometheus' machine, with an API key that may read /metrics; empty "
        "means that none is required.",
    )
    alertmanagers: tuple[str, ...] = Field(
        ("127.0.0.1:9093",), description="host:port of each Alertmanager."
    )
    prometheus_url: str = Field(
        "http://127.0.0.1:9090", description="URL of the Prometheus that Grafana asks."
    )
    alert_webhook: str = Field(
        "",
        description="URL that Alertmanager posts alerts to; empty means that it only shows them.",
    )
    runbooks_url: str = Field(
        "docs/runbooks.md",
        description="URL of the page of runbooks, to which alerts link.",
    )
    machine_price: float = Field(
        0.0,
        ge=0,
        description="Price of the machine per hour, in any currency, for the cost of answers; 0 "
        "means unknown.",
    )
