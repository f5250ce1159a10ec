"""Settings: `sections` and `remotes` declare them, `loading` reads them."""

from silkline.config.loading import (
    VARIABLE_PREFIX,
    field_info,
    load_settings,
    section_of_field,
    settings_from,
)
from silkline.config.origins import EVERY_ORIGIN
from silkline.config.remotes import RemoteSettings, server_root
from silkline.config.sections import (
    AdmissionSettings,
    AuthSettings,
    CacheSettings,
    DecodeSettings,
    EngineSettings,
    FetchSettings,
    IdempotencySettings,
    LimitSettings,
    LogSettings,
    ResponseSettings,
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
    "IdempotencySettings",
    "LimitSettings",
    "LogSettings",
    "RemoteSettings",
    "ResponseSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "field_info",
    "load_settings",
    "section_of_field",
    "server_root",
    "settings_from",
]
