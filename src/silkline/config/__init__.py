"""Settings: declared in `sections`, described for remotes in `remotes`, read by `loading`."""

from silkline.config.loading import (
    VARIABLE_PREFIX,
    field_info,
    load_settings,
    section_of_field,
)
from silkline.config.origins import EVERY_ORIGIN
from silkline.config.remotes import RemoteSettings
from silkline.config.sections import (
    AdmissionSettings,
    AuthSettings,
    CacheSettings,
    DecodeSettings,
    EngineSettings,
    FetchSettings,
    LimitSettings,
    LogSettings,
    Section,
    ServerSettings,
    Settings,
)

__all__ = [
    "EVERY_ORIGIN",
    "VARIABLE_PREFIX",
    "AdmissionSettings",
    "AuthSettings",
    "CacheSettings",
    "DecodeSettings",
    "EngineSettings",
    "FetchSettings",
    "LimitSettings",
    "LogSettings",
    "RemoteSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "field_info",
    "load_settings",
    "section_of_field",
]
