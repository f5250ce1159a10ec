"""Generates the reference pages from the code: `python -m scripts.reference_pages`.

`tests/test_reference.py` fails if a page is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from silkline.config import (
    VARIABLE_PREFIX,
    Changes,
    EngineSettings,
    ExperimentSettings,
    ModelSettings,
    Section,
    Settings,
    ShadowSettings,
    field_info,
    section_of_field,
)
from silkline.deploy.prometheus.alerts import all_alerts
from silkline.errors import HTTP_FACES
from silkline.gateway.error_bodies import anthropic_type
from silkline.observe.catalogue import ALL as METRICS
from silkline.observe.other_names import OTEL_NAMES, VLLM_NAMES

DOCS = Path(__file__).parents[1] / "docs"
ALERT_TIMES = Path(__file__).with_name("alert_times.json")
"""What `tests/deploy/test_alerts_live.py` measured: minutes by alert, and the factor."""


def configuration() -> str:
    """Returns `docs/configuration.md`: every setting."""
    lines = [
        "# Settings",
        "",
        "Generated from `src/silkline/config/` by `scripts/reference_pages.py`.",
        "",
        "Set a setting as a key in its section of `silkline.toml` (in the working folder, or the",
        "file of `--config`), as an environment variable, or as a flag. Flags override variables,",
        "variables override the file. An unknown name is an error that suggests the closest one.",
        "In a variable or a flag, write a list as `a, b` or JSON, and a table as `name=value, ...`",
        "or JSON. A flag for a list can be repeated. The variables that Kubernetes sets for a",
        "Service named `silkline` or `silkline-...` (such as `SILKLINE_SERVICE_HOST`) are ignored.",
        "",
        "```toml",
        "[server]",
        "port = 8080",
        "",
        "[fetch]",
        'allowed_hosts = ["*.shop.example"]',
        "```",
    ]
    sections = section_of_field()
    for section, group in Settings.model_fields.items():
        if section == "models":
            lines += _tables()
            continue
        if section == "experiments":
            lines += _experiments()
            continue
        about = (group.annotation.__doc__ or "").strip().splitlines()[0] if group.annotation else ""
        lines += ["", f"## [{section}]", "", about, ""]
        lines.append("| key | variable | default | description |")
        lines.append("|---|---|---|---|")
        for field in (name for name, owner in sections.items() if owner == section):
            info = field_info(field)
            default = info.get_default(call_default_factory=True)
            shown = "empty" if default in ((), {}) else f"`{default}`"
            variable = f"`{VARIABLE_PREFIX}{field.upper()}`"
            lines.append(f"| `{field}` | {variable} | {shown} | {info.description} |")
    return "\n".join(lines) + "\n"


def _tables() -> list[str]:
    """The section `[models]`, which has one table for each model."""
    own = [name for name in ModelSettings.model_fields if name not in EngineSettings.model_fields]
    return [
        "",
        "## [models.NAME]",
        "",
        "One table for each of several models; see `docs/several.md`. A table has these keys and",
        "those of `[engine]`, but `served_name`: NAME is the name in the API. What a table leaves",
        "out is taken from `[engine]`, with its variables and flags. Without tables, the model of",
        "`[engine]` is the only one. Put a NAME with a dot or a slash in quotes.",
        *_keys(ModelSettings, own),
    ]


def _experiments() -> list[str]:
    """The section `[experiments]`, which has one table for each experiment."""
    return [
        "",
        "## [experiments.NAME]",
        "",
        "One table for each experiment; see `docs/experiments.md`. Only the file has them.",
        *_keys(ExperimentSettings, ExperimentSettings.model_fields),
        "",
        "## [experiments.NAME.changes]",
        "",
        "What the candidate of an experiment answers differently; it may be the same model.",
        *_keys(Changes, Changes.model_fields),
        "",
        "## [experiments.NAME.shadow]",
        "",
        "Which requests the other model answers too, in idle capacity, to compare the answers.",
        *_keys(ShadowSettings, ShadowSettings.model_fields),
    ]


def _keys(kind: type[Section], names: Iterable[str]) -> list[str]:
    lines = ["", "| key | default | description |", "|---|---|---|"]
    for name in names:
        info = kind.model_fields[name]
        is_empty = info.default in ((), "", Changes(), ShadowSettings())
        default = "empty" if is_empty else f"`{info.default}`"
        shown = "required" if info.is_required() else default
        lines.append(f"| `{name}` | {shown} | {info.description} |")
    return lines


def errors() -> str:
    """Returns `docs/errors.md`: every error that a client can see."""
    lines = [
        "# Errors",
        "",
        "Generated from `src/silkline/errors.py` by `scripts/reference_pages.py`.",
        "",
        "Every error has a body as in the OpenAI API, and the request's id in `x-request-id`:",
        "",
        "```json",
        '{"error": {"message": "...", "type": "...", "param": "image", "code": "image_format"}}',
        "```",
        "",
        "On `/v1/messages` and below it has the form of the Anthropic API, and the id is also in",
        "`request-id`:",
        "",
        "```json",
        '{"type": "error", "error": {"type": "invalid_request_error", "message": "...",',
        ' "details": {"error_code": "image_format"}}, "request_id": "..."}',
        "```",
        "",
        "409, 429 and 503 have `Retry-After`. Once a stream has started, an error is sent as an",
        "`error` event with the same body, and the usual end of the stream is not sent. A 500 is",
        "always a bug: please report it with its request id.",
        "",
        "| status | code | type on `/v1/messages` | when |",
        "|---|---|---|---|",
    ]
    faces = sorted(HTTP_FACES.items(), key=lambda item: (item[1].status, item[1].code))
    for error, face in faces:
        when = (error.__doc__ or "").strip().splitlines()[0]
        kind = anthropic_type(face.status)
        lines.append(f"| {face.status} | `{face.code}` | `{kind}` | {when} |")
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Returns `docs/metrics.md`: every metric, and OpenTelemetry's names for some of them."""
    lines = [
        "# Metrics",
        "",
        "Generated from `src/silkline/observe/catalogue.py` by `scripts/reference_pages.py`.",
        "",
        "`GET /metrics` has them in Prometheus' text format, or in OpenMetrics for a client that",
        "accepts that; only the latter has exemplars with the label `request_id`. Several gateway",
        "processes are shown as one: the last column says how their values are merged. What",
        "watches them is in [monitoring](monitoring.md). Histograms have fixed buckets, not native",
        "ones ([why](decisions/0057-classic-histograms.md)).",
        "",
        "| metric | type | labels | what | merged by |",
        "|---|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rule = metric.merge.__name__
        lines.append(
            f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.about} | {rule} |"
        )
    lines += [
        "",
        "## OpenTelemetry's names",
        "",
        "OpenTelemetry's conventions for generative AI are in development; each name is that of",
        "the commit in its link. The label `model` is their attribute `gen_ai.response.model`.",
        "",
        "| name | metric | samples | attributes |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [`{each.name}`]({each.page}) | `{each.metric.name}` | {each.samples} "
        f"| {each.attributes} |"
        for each in OTEL_NAMES
    ]
    lines += [
        "",
        "## vLLM's names",
        "",
        f"Of [vLLM's page at a commit]({VLLM_NAMES[0].page}).",
        "The label `model` is its `model_name`.",
        "",
        "| name | metric | samples |",
        "|---|---|---|",
    ]
    lines += [f"| `{each.name}` | `{each.metric.name}` | {each.samples} |" for each in VLLM_NAMES]
    return "\n".join(lines) + "\n"


def alerts() -> str:
    """Returns `docs/alerts.md`: every alert at the default settings, and when it fired."""
    times = json.loads(ALERT_TIMES.read_text(encoding="utf-8"))
    lines = [
        "# Alerts",
        "",
        "Generated from `src/silkline/deploy/prometheus/` by `scripts/reference_pages.py`, at the",
        "default settings. `tests/deploy/test_alerts.py` holds each time by promtool.",
        "`pytest -m full tests/deploy/test_alerts_live.py` injects each fault into a running",
        "gateway that a real Prometheus scrapes, and prints when the alert fired. All durations of",
        "the rules are divided by one factor for that, and the measured time is multiplied by it.",
        "",
        "| alert | severity | fires at most | measured | factor | after |",
        "|---|---|---|---|---|---|",
    ]
    for alert in all_alerts(Settings()):
        link = f"[{alert.name}](runbooks.md#{alert.anchor})"
        found = times.get(alert.name)
        measured = f"{found['minutes']:g} min | {found['factor']:g}" if found else "not yet |"
        lines.append(
            f"| {link} | {alert.severity.value} | {alert.within_minutes} min | {measured} "
            f"| {alert.fault} |"
        )
    return "\n".join(lines) + "\n"


PAGES = {
    "alerts.md": alerts,
    "configuration.md": configuration,
    "errors.md": errors,
    "metrics.md": metrics,
}


def main() -> None:
    """Writes all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
