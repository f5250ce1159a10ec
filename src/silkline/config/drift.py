"""The settings of drift and of the canary set."""

from __future__ import annotations

from pydantic import Field

from silkline.config.models import ModelName
from silkline.config.sections import Section


class DriftSettings(Section):
    """Comparison of live traffic with a baseline; see `docs/drift.md`."""

    drift_baseline: str = Field(
        "",
        description="File with the baseline, which `silkline baseline` writes; empty compares "
        "nothing.",
    )
    drift_window: float = Field(
        3600.0, gt=0, le=30 * 86_400, description="Minimum seconds of a window of traffic."
    )
    drift_min_requests: int = Field(500, ge=50, description="Minimum computed answers of a window.")
    drift_psi: float = Field(
        0.25,
        ge=0,
        description="Population stability index up to which a feature counts as unchanged.",
    )
    drift_false_alarms: float = Field(
        0.1,
        gt=0,
        le=10,
        description="False alarms that chance may cause in 30 days, over all features, models and "
        "gateway processes together.",
    )
    drift_journal: str = Field(
        "",
        description="File that keeps the windows and the runs of the canary set across restarts; "
        "empty keeps them in memory. Several gateway processes need it.",
    )


class CanarySettings(Section):
    """Known questions that are asked again and again; see `docs/drift.md`."""

    canary_data: str = Field(
        "",
        description="Data set of known questions, as `silkline evaluate --data` takes it; empty "
        "asks none.",
    )
    canary_items: int = Field(
        20, ge=1, le=1000, description="Use only so many items, from the start of the set."
    )
    canary_models: tuple[ModelName, ...] = Field(
        (), description="Models that are asked, by name; empty means the default model."
    )
    canary_every: float = Field(3600.0, ge=1, description="Seconds from one run to the next.")
    canary_max_tokens: int = Field(64, ge=1, description="Maximum tokens of an answer.")
