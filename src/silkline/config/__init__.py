"""Settings: `sections`, `models` and `remotes` declare them, `loading` reads them."""

from silkline.config.batches import BatchSettings
from silkline.config.deploy import DeploySettings, UpstreamSettings
from silkline.config.drift import CanarySettings, DriftSettings
from silkline.config.experiments import Changes, ExperimentSettings
from silkline.config.loading import (
    DEFAULT_FILE,
    VARIABLE_PREFIX,
    field_info,
    load_settings,
    section_of_field,
    settings_from,
    with_models,
)
from silkline.config.models import (
    UNNAMED,
    AdminSettings,
    ModelName,
    ModelSettings,
    check_together,
    with_defaults,
)
from silkline.config.monitoring import MonitoringSettings, SloSettings
from silkline.config.observing import LogSettings, TraceSettings
from silkline.config.origins import EVERY_ORIGIN
from silkline.config.ray import RaySettings
from silkline.config.remotes import RemoteSettings, server_root
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
from silkline.config.settings import Settings
from silkline.config.shadow import ShadowSettings
from silkline.config.shown import shown_settings

__all__ = [
    "DEFAULT_FILE",
    "EVERY_ORIGIN",
    "UNNAMED",
    "VARIABLE_PREFIX",
    "AdminSettings",
    "AdmissionSettings",
    "AuthSettings",
    "BatchSettings",
    "CacheSettings",
    "CanarySettings",
    "Changes",
    "DecodeSettings",
    "DeploySettings",
    "DriftSettings",
    "EngineSettings",
    "ExperimentSettings",
    "FetchSettings",
    "HistorySettings",
    "IdempotencySettings",
    "LimitSettings",
    "LogSettings",
    "ModelName",
    "ModelSettings",
    "MonitoringSettings",
    "RaySettings",
    "RemoteSettings",
    "ResponseSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "ShadowSettings",
    "SloSettings",
    "TraceSettings",
    "UpstreamSettings",
    "check_together",
    "field_info",
    "load_settings",
    "section_of_field",
    "server_root",
    "settings_from",
    "shown_settings",
    "with_defaults",
    "with_models",
]
