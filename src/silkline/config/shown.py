"""The settings in force for people: each with its value, its source, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from silkline.config.loading import field_info, section_of_field
from silkline.config.sections import Section
from silkline.config.settings import Settings

MASK = "•••"

_USER = re.compile(r"(://)[^/\s'\"@]*@")
_SECRET_VALUE = re.compile(
    r"([?&;,\s][^=&;,\s]*(?:key|token|secret|password|passwd|credential|signature)[^=&;,\s]*=)"
    r"[^&;,\s]+",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(
    r"(^|[_-])(key|token|secret|password|passwd|credentials?)($|[_-])", re.IGNORECASE
)
_NO_SECRETS = {
    "key_env", "key_file", "keys_file", "webhook_key_env",
    "webhook_key_file", "pixels_per_token", "image_tokens", "tls_key", "tls_secret",
}  # fmt: skip
"""Names of settings that say where a secret is, or only sound like one."""


def shown_settings(settings: Settings) -> list[dict[str, Any]]:
    """Returns each setting: its section, name, value, default, source and description.

    The source is `default`, `file FILE`, `variable NAME` or `flag --NAME`. Users and passwords of
    URLs, and values that are named like a secret, are masked.
    """
    sources = settings.sources
    rows = [
        _row(section, name, field_info(name), getattr(settings, section), sources.get(name))
        for name, section in section_of_field().items()
    ]
    tables: dict[str, Mapping[str, Section]] = {
        "models": settings.models,
        "experiments": settings.experiments,
    }
    for section, named in tables.items():
        for name, table in named.items():
            rows += [
                _row(f"{section}.{name}", key, type(table).model_fields[key], table,
                     sources.get(section))
                for key in sorted(table.model_fields_set)
            ]  # fmt: skip
    return rows


def _row(
    section: str, name: str, info: FieldInfo, group: Section, source: str | None
) -> dict[str, Any]:
    return {
        "section": section,
        "name": name,
        "value": _masked(name, getattr(group, name)),
        "default": None
        if info.is_required()
        else _masked(name, info.get_default(call_default_factory=True)),
        "source": source or "default",
        "description": info.description,
    }


def _masked(name: str, value: Any) -> Any:
    """A value as JSON, with what may be secret masked."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {str(key): _masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(name, item) for item in value]
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_NAME.search(name) and name not in _NO_SECRETS:
        return MASK
    return _SECRET_VALUE.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", value))
