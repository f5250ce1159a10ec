"""`prometheus.yml`: what Prometheus scrapes, which rules it evaluates, where its alerts go.

https://prometheus.io/docs/prometheus/latest/configuration/configuration/
"""

from __future__ import annotations

from silkline.config import Settings
from silkline.deploy.documents import Document

JOB = "silkline"
RULES = "rules/*.yml"
SCRAPE_SECONDS = 15
ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on


class _Global(Document, frozen=True):
    scrape_interval: str
    scrape_timeout: str
    evaluation_interval: str


class _StaticConfig(Document, frozen=True):
    targets: tuple[str, ...]


class _Authorization(Document, frozen=True):
    credentials_file: str


class _ScrapeConfig(Document, frozen=True):
    job_name: str
    metrics_path: str
    static_configs: tuple[_StaticConfig, ...]
    authorization: _Authorization | None = None


class _Alertmanager(Document, frozen=True):
    static_configs: tuple[_StaticConfig, ...]


class _Alerting(Document, frozen=True):
    alertmanagers: tuple[_Alertmanager, ...]


class _Prometheus(Document, rename={"scope": "global"}, frozen=True):
    scope: _Global
    rule_files: tuple[str, ...]
    scrape_configs: tuple[_ScrapeConfig, ...]
    alerting: _Alerting | None = None


def prometheus_yml(settings: Settings) -> Document:
    """Returns the configuration of a Prometheus that watches the gateways."""
    watched = settings.monitoring
    interval = f"{SCRAPE_SECONDS}s"
    key = watched.scrape_key_file
    return _Prometheus(
        scope=_Global(interval, "10s", interval),
        rule_files=(RULES,),
        scrape_configs=(
            _ScrapeConfig(
                job_name=JOB,
                metrics_path="/metrics",
                static_configs=(_StaticConfig(_gateways(settings)),),
                authorization=_Authorization(key) if key else None,
            ),
        ),
        alerting=_alerting(watched.alertmanagers),
    )


def _alerting(addresses: tuple[str, ...]) -> _Alerting | None:
    if not addresses:
        return None
    return _Alerting((_Alertmanager((_StaticConfig(addresses),)),))


def _gateways(settings: Settings) -> tuple[str, ...]:
    """The addresses that Prometheus scrapes."""
    named = tuple(upstream.address for upstream in settings.deploy.upstreams)
    return settings.monitoring.scrape_targets or named or (gateway_address(settings),)


def gateway_address(settings: Settings) -> str:
    """Returns the host:port of this machine's gateway; a wildcard address is reached locally."""
    host, port = settings.server.host, settings.server.port
    host = "127.0.0.1" if host in ANY_ADDRESS else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
