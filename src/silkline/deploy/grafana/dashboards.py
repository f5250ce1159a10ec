"""The dashboards: overview, request stages, engine, cache, tenants, quality, experiments."""

from __future__ import annotations

from silkline.deploy.grafana.experiments import experiments
from silkline.deploy.grafana.panels import Dashboard, panel, quantiles
from silkline.deploy.prometheus import recording

_M = 'model=~"$model"'
_RATE = "[$__rate_interval]"

_CAPACITY = (
    panel(
        "Requests in the queue",
        "none",
        (f"silkline_queue_waiting{{{_M}}}", "{{model}}"),
    ),
    panel(
        "Engines busy",
        "percentunit",
        (f"{recording.ENGINE_BUSY}{{{_M}}}", "{{model}} {{replica}}"),
        about="Share of the time in which an engine had at least one request.",
    ),
)


def all_dashboards() -> tuple[Dashboard, ...]:
    """Returns the dashboards, in the order of a search for a fault."""
    return (_overview(), _stages(), _engine(), _cache(), _tenants(), _quality(), experiments())


def _overview() -> Dashboard:
    return Dashboard(
        "silkline-overview",
        "Silkline: overview",
        {
            "Objectives": (
                panel(
                    "Objectives met in 30 days",
                    "percentunit",
                    (f"{recording.ATTAINMENT}{{{_M}}}", "{{model}} {{objective}}"),
                ),
                panel(
                    "Share that missed them, one hour",
                    "percentunit",
                    (f"{recording.MISS_RATIO}1h{{{_M}}}", "{{model}} {{objective}}"),
                ),
            ),
            "Traffic": (
                panel("Answers", "reqps", (f"{recording.ANSWERS}{{{_M}}}", "{{model}}")),
                panel(
                    "Requests by status",
                    "reqps",
                    (f"sum by (code) (rate(silkline_requests_total{_RATE}))", "{{code}}"),
                ),
                panel(
                    "Errors by code",
                    "reqps",
                    (f"sum by (code) (rate(silkline_errors_total{_RATE}))", "{{code}}"),
                ),
                quantiles("request_seconds"),
                quantiles("time_to_first_token_seconds"),
                panel(
                    "Cost of a thousand answers",
                    "none",
                    (recording.COST, "all models"),
                    about="In the currency of `machine_price`; 0 while that is not set.",
                ),
            ),
            "Capacity": _CAPACITY,
        },
    )


def _stages() -> Dashboard:
    by_stage = f"sum by (stage) (rate(silkline_stage_seconds_sum{{{_M}}}{_RATE}))"
    pixels = (
        f"sum (rate(silkline_image_pixels_sum{_RATE})) "
        f"/ sum (rate(silkline_image_pixels_count{_RATE}))"
    )
    count = f"sum by (stage) (rate(silkline_stage_seconds_count{{{_M}}}{_RATE}))"
    return Dashboard(
        "silkline-stages",
        "Silkline: request stages",
        {
            "Where the time goes": (
                panel("Mean seconds by stage", "s", (f"{by_stage} / {count}", "{{stage}}")),
                quantiles("stage_seconds", "stage"),
                quantiles("time_per_output_token_seconds"),
            ),
            "Images": (
                panel(
                    "Fetches and decodings",
                    "reqps",
                    (f"sum (rate(silkline_intake_fetches_total{_RATE}))", "fetches"),
                    (f"sum (rate(silkline_intake_decodes_total{_RATE}))", "decodings"),
                    (f"sum (rate(silkline_intake_recognised_total{_RATE}))", "recognised"),
                ),
                panel(
                    "Decoders",
                    "none",
                    ("sum by (kind) (silkline_decode_busy)", "busy with {{kind}}"),
                    ("sum by (kind) (silkline_decode_waiting)", "{{kind}} waiting"),
                    ("sum by (kind) (silkline_decode_processes)", "for {{kind}}"),
                ),
                panel(
                    "Mean pixels of an image",
                    "none",
                    (pixels, "pixels"),
                ),
            ),
            "Gateway": (
                quantiles("event_loop_lag_seconds", "instance", ""),
                panel("Open requests", "none", ("silkline_open_requests", "{{instance}}")),
                panel("Memory", "bytes", ("silkline_gateway_resident_bytes", "{{instance}}")),
            ),
        },
    )


def _engine() -> Dashboard:
    tokens = f"sum by (kind) (rate(silkline_tokens_total{{{_M}}}{_RATE}))"
    pressure = f'rate(silkline_machine_pressure_seconds_total{{share="some"}}{_RATE})'
    one = "{{model}} {{replica}}"
    return Dashboard(
        "silkline-engine",
        "Silkline: engine",
        {
            "Batch": (
                panel("Busy", "percentunit", (f"{recording.ENGINE_BUSY}{{{_M}}}", one)),
                panel("Requests in a batch", "none", (f"{recording.BATCH_REQUESTS}{{{_M}}}", one)),
                panel("Batch filled", "percentunit", (f"{recording.BATCH_OCCUPANCY}{{{_M}}}", one)),
                panel("Tokens", "none", (tokens, "{{kind}} a second")),
                panel(
                    "KV cache in use",
                    "percentunit",
                    (f"silkline_replica_kv_cache_ratio{{{_M}}}", one),
                ),
                panel(
                    "Queue",
                    "none",
                    (f"silkline_queue_waiting{{{_M}}}", "{{model}} requests"),
                    (f"silkline_queue_tokens{{{_M}}}", "{{model}} tokens"),
                ),
            ),
            "Replicas": (
                panel("Ready", "none", (f"silkline_replica_ready{{{_M}}}", one)),
                panel("Ejected", "none", (f"silkline_replica_ejected{{{_M}}}", one)),
                panel("Restarts", "none", (f"silkline_replica_restarts_total{{{_M}}}", one)),
                panel(
                    "Since the last step",
                    "s",
                    (f"silkline_replica_progress_age_seconds{{{_M}}}", one),
                ),
                panel("Memory", "bytes", (f"silkline_replica_resident_bytes{{{_M}}}", one)),
                panel("Requests in flight", "none", (f"silkline_replica_requests{{{_M}}}", one)),
            ),
            "Machine": (
                panel("Cores", "none", ("silkline_machine_cores", "{{instance}}")),
                panel(
                    "Free memory", "bytes", ("silkline_machine_memory_free_bytes", "{{instance}}")
                ),
                panel(
                    "Waiting for a resource",
                    "percentunit",
                    (pressure, "{{resource}}"),
                    about="Share of the time in which a task waited for it (Linux PSI).",
                ),
            ),
        },
    )


def _cache() -> Dashboard:
    return Dashboard(
        "silkline-cache",
        "Silkline: cache",
        {
            "Answers": (
                panel(
                    "Answers from the cache",
                    "percentunit",
                    (f"{recording.CACHE_HITS}{{{_M}}}", "{{model}}"),
                ),
                panel(
                    "Answers by state",
                    "reqps",
                    (
                        f"sum by (cache) (rate(silkline_requests_total{{{_M}}}{_RATE}))",
                        "{{cache}}",
                    ),
                ),
                quantiles("cache_hit_age_seconds", "tier", ""),
            ),
            "Tiers": (
                panel(
                    "Reads",
                    "reqps",
                    (
                        f"sum by (tier, outcome) (rate(silkline_cache_reads_total{_RATE}))",
                        "{{tier}} {{outcome}}",
                    ),
                ),
                panel("Entries", "none", ("silkline_cache_entries", "{{tier}}")),
                panel("Bytes", "bytes", ("silkline_cache_bytes", "{{tier}}")),
                panel("Degraded", "none", ("silkline_cache_degraded", "{{tier}}")),
                panel(
                    "Errors and dropped writes",
                    "reqps",
                    (f"rate(silkline_cache_errors_total{_RATE})", "{{tier}} errors"),
                    (f"rate(silkline_cache_writes_dropped_total{_RATE})", "{{tier}} dropped"),
                ),
            ),
        },
    )


def _tenants() -> Dashboard:
    return Dashboard(
        "silkline-tenants",
        "Silkline: tenants",
        {
            "Requests": (
                panel(
                    "Admitted",
                    "reqps",
                    (
                        f"sum by (tenant) (rate(silkline_admitted_total{{{_M}}}{_RATE}))",
                        "{{tenant}}",
                    ),
                ),
                panel(
                    "Requests with an idempotency key",
                    "reqps",
                    (
                        f"sum by (outcome) (rate(silkline_idempotency_requests_total{_RATE}))",
                        "{{outcome}}",
                    ),
                    about="Empty until a client sends one.",
                ),
                panel(
                    "Refused",
                    "reqps",
                    (
                        f"sum by (tenant, reason) (rate(silkline_refused_total{{{_M}}}{_RATE}))",
                        "{{tenant}} {{reason}}",
                    ),
                    about="Empty until a request is refused.",
                ),
            ),
        },
    )


def _quality() -> Dashboard:
    return Dashboard(
        "silkline-quality",
        "Silkline: quality",
        {
            "Drift": (
                panel(
                    "Drift by feature",
                    "none",
                    (
                        f"silkline_drift_index{{{_M}}} / (silkline_drift_limit{{{_M}}} > 0)",
                        "{{model}} {{feature}}",
                    ),
                    about="The last window beside the baseline: above 1, the feature has drifted.",
                ),
                panel(
                    "Windows compared",
                    "none",
                    (f"silkline_drift_windows_total{{{_M}}}", "{{model}}"),
                ),
            ),
            "Canary set": (
                panel(
                    "Answers that are not as before",
                    "none",
                    (f"silkline_canary_answers{{{_M}}}", "{{model}} {{state}}"),
                ),
                panel(
                    "Score of the canary set",
                    "percentunit",
                    (f"silkline_canary_score{{{_M}}}", "{{model}} {{metric}}"),
                ),
            ),
        },
    )
