"""All settings, by section."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Self

from pydantic import Field, PrivateAttr, model_validator

from silkline.config.drift import CanarySettings, DriftSettings
from silkline.config.experiments import (
    ExperimentingSettings,
    ExperimentSettings,
    check_experiments,
)
from silkline.config.models import AdminSettings, ModelName, ModelSettings, resolved
from silkline.config.monitoring import MonitoringSettings, SloSettings
from silkline.config.observing import LogSettings, TraceSettings
from silkline.config.sections import (
    AdmissionSettings,
    AuthSettings,
    CacheSettings,
    DecodeSettings,
    EngineSettings,
    FetchSettings,
    HistorySettings,
    IdempotencySettings,
    LimitSettings,
    ResponseSettings,
    Section,
    ServerSettings,
)


class Settings(Section):
    """All settings, by section."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    fetch: FetchSettings = FetchSettings()
    decode: DecodeSettings = DecodeSettings()
    engine: EngineSettings = EngineSettings()
    models: dict[ModelName, ModelSettings] = Field(default_factory=dict)
    admin: AdminSettings = AdminSettings()
    cache: CacheSettings = CacheSettings()
    idempotency: IdempotencySettings = IdempotencySettings()
    responses: ResponseSettings = ResponseSettings()
    history: HistorySettings = HistorySettings()
    admission: AdmissionSettings = AdmissionSettings()
    log: LogSettings = LogSettings()
    slo: SloSettings = SloSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    traces: TraceSettings = TraceSettings()
    drift: DriftSettings = DriftSettings()
    canary_set: CanarySettings = CanarySettings()

    experiments: dict[ModelName, ExperimentSettings] = Field(default_factory=dict)
    experimenting: ExperimentingSettings = ExperimentingSettings()

    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _models_can_be_told_apart(self) -> Settings:
        names = {model.served_name for model in resolved(self.engine, self.models).values()}
        check_experiments(self.experiments, names)
        return self

    @property
    def sources(self) -> Mapping[str, str]:
        """The source of each setting that is set, by name; `models` is for all tables."""
        return self._sources

    def from_sources(self, sources: Mapping[str, str]) -> Self:
        """Returns these settings, with where they came from."""
        self._sources = sources
        return self

    @cached_property
    def served(self) -> dict[str, ModelSettings]:
        """The models to serve, by key: those of `[models]`, else the one of `[engine]`."""
        return resolved(self.engine, self.models)
