"""Recording rules: what dashboards and alerts read more than once, by model, over all gateways."""

from __future__ import annotations

from silkline.deploy.prometheus.documents import Group, Recording

SLO_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

MISS_RATIO = "silkline:slo_misses:ratio"
ATTAINMENT = "silkline:slo_attainment:ratio30d"
ENGINE_BUSY = "silkline:engine_busy:ratio5m"
BATCH_REQUESTS = "silkline:batch_requests:mean5m"
BATCH_OCCUPANCY = "silkline:batch_occupancy:ratio5m"
ANSWERS = "silkline:answers:rate5m"
COST = "silkline:cost_per_thousand_answers:1h"
CACHE_HITS = "silkline:cache_hits:ratio5m"
RESIDENT = "silkline:resident_bytes"
BACKLOG = "silkline:backlog_seconds"
SATURATION = "silkline:pool_saturation:ratio"
ENGINES_BUSY = "silkline:engines_busy:ratio5m"

_BY_OBJECTIVE = "sum by (model, objective)"
_SHARED = 'cache=~"hit|near|coalesced"'
_ANSWERED = 'code="200",model!=""'


def recording_groups() -> tuple[Group, ...]:
    """Returns the recording rules: of the objectives, then of the engines and their cost."""
    objectives = (*(_misses(window) for window in SLO_WINDOWS), _attainment())
    return (
        Group("silkline-objectives", objectives),
        Group("silkline-engines", (*_engines(), *_scaling())),
    )


def _scaling() -> tuple[Recording, ...]:
    """What the number of engines is scaled on, by model."""
    demand = "sum by (model) (silkline_queue_waiting + silkline_queue_running)"
    return (
        # Each gateway divides its queue by the rate at which it gets answers itself.
        Recording(BACKLOG, "max by (model) (silkline_queue_backlog_seconds)"),
        # Each gateway sees all engines, so their slots are not added up.
        Recording(
            SATURATION,
            f"{demand}\n/ clamp_min(max by (model) (silkline_queue_capacity), 1)",
        ),
        Recording(ENGINES_BUSY, f"avg by (model) ({ENGINE_BUSY})"),
    )


def _misses(window: str) -> Recording:
    """The share of the questions that missed an objective in a window; absent without questions."""
    return Recording(
        f"{MISS_RATIO}{window}",
        f"{_BY_OBJECTIVE} (rate(silkline_slo_misses_total[{window}]))\n"
        f"/ ({_BY_OBJECTIVE} (rate(silkline_slo_questions_total[{window}])) > 0)",
    )


def _attainment() -> Recording:
    return Recording(
        ATTAINMENT,
        f"1 - {_BY_OBJECTIVE} (increase(silkline_slo_misses_total[30d]))\n"
        f"/ ({_BY_OBJECTIVE} (increase(silkline_slo_questions_total[30d])) > 0)",
    )


def _engines() -> tuple[Recording, ...]:
    busy = "rate(silkline_replica_busy_seconds_total[5m])"
    slots = "rate(silkline_replica_slot_seconds_total[5m])"
    by_replica = "instance, model, replica"
    return (
        Recording(ENGINE_BUSY, f"clamp_max(max by ({by_replica}) ({busy}), 1)"),
        Recording(
            BATCH_REQUESTS,
            f"max by ({by_replica}) ({slots}) / (max by ({by_replica}) ({busy}) > 0)",
        ),
        Recording(
            BATCH_OCCUPANCY,
            f"{BATCH_REQUESTS}\n"
            "/ on (instance, model) group_left () (silkline_model_max_batch > 0)",
        ),
        Recording(ANSWERS, f"sum by (model) (rate(silkline_requests_total{{{_ANSWERED}}}[5m]))"),
        Recording(
            CACHE_HITS,
            f"sum by (model) (rate(silkline_requests_total{{{_ANSWERED},{_SHARED}}}[5m]))\n"
            f"/ (sum by (model) (rate(silkline_requests_total{{{_ANSWERED}}}[5m])) > 0)",
        ),
        Recording(
            COST,
            "1000 / 3600 * sum (silkline_machine_price_per_hour)\n"
            f"/ (sum (rate(silkline_requests_total{{{_ANSWERED}}}[1h])) > 0)",
        ),
        Recording(
            RESIDENT,
            "sum by (instance) (silkline_gateway_resident_bytes)\n"
            "+ (sum by (instance) (silkline_replica_resident_bytes) "
            "or 0 * sum by (instance) (silkline_gateway_resident_bytes))",
        ),
    )
