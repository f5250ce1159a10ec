"""Reads the settings from `silkline.toml`, `SILKLINE_*` variables and flags.

Later sources win: defaults, file, environment, flags. Unknown names are errors, except for the
variables that Kubernetes sets in every container when a Service is named silkline
(https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from silkline.config.experiments import ExperimentSettings
from silkline.config.models import ModelSettings
from silkline.config.sections import EngineSettings, Section
from silkline.config.settings import Settings
from silkline.errors import ConfigError

VARIABLE_PREFIX = "SILKLINE_"
DEFAULT_FILE = "silkline.toml"

_TABLES: Mapping[str, type[Section]] = {
    "models": ModelSettings,
    "experiments": ExperimentSettings,
}
"""The sections of named tables, such as one for each model; only the file has them."""

_ADAPTER_KEYS = {"adapters", "base_model", "lora", "lora_modules"}
"""Keys by which other servers know adapters; refused with the right ones."""

_CREDENTIALS = re.compile(r"://[^/\s'\"]*@")

_KUBERNETES = re.compile(
    r"""SILKLINE_(?:[A-Z0-9_]+_)?(?:  # of a Service named silkline, or silkline-something
        SERVICE_HOST=[0-9a-fA-F.:]+
      | SERVICE_PORT(?:_[A-Z0-9_]+)?=\d+
      | PORT(?:_\d+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+:\d+
      | PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO=(?:tcp|udp|sctp)|PORT=\d+|ADDR=[0-9a-fA-F.:]+)
    )""",
    re.VERBOSE,
)


def load_settings(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]
) -> Settings:
    """Reads the settings from all sources.

    Args:
        file: A TOML file; None means `silkline.toml` in the working folder, if it exists.
        environment: The variables; ignores those that do not start with `SILKLINE_` and those
            that Kubernetes sets.
        flags: Values by field name; None means that the flag was not given. A list or a table may
            be text, as in a variable; a list may also be several strings.

    Raises:
        ConfigError: A name is unknown (the message suggests the closest one) or a value is
            invalid.
    """
    values = _from_file(file)
    sections = section_of_field()
    sources = {
        name: f"file {file or DEFAULT_FILE}"
        for section, group in values.items()
        for name in ([section] if section in _TABLES else group)
    }
    for name, text in environment.items():
        if name.startswith(VARIABLE_PREFIX) and not _KUBERNETES.fullmatch(f"{name}={text}"):
            field = name.removeprefix(VARIABLE_PREFIX).lower()
            _put(values, sections, field, text, source=f"variable {name}")
            sources[field] = f"variable {name}"
    for field, value in flags.items():
        if value is not None:
            _put(values, sections, field, value, source=_flag(field))
            sources[field] = f"flag {_flag(field)}"
    try:
        return Settings.model_validate(values).from_sources(sources)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def with_models(
    settings: Settings, engine: EngineSettings, models: Mapping[str, ModelSettings]
) -> Settings:
    """Returns the settings with another `[engine]`, and other tables in `[models]`.

    Raises:
        ConfigError: Two models have the same name.
    """
    sections = {name: getattr(settings, name) for name in Settings.model_fields}
    try:
        changed = Settings.model_validate(sections | {"engine": engine, "models": dict(models)})
        return changed.from_sources(settings.sources)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def settings_from(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Reads the settings from the defaults, the file, this process's environment and the flags.

    Raises:
        ConfigError: See `load_settings`.
    """
    set_flags = {name: value for name, value in flags.items() if value is not None and value != ()}
    return load_settings(file, os.environ, set_flags)


def section_of_field() -> dict[str, str]:
    """Maps each field to its section, in the order of declaration."""
    return {
        field: section
        for section, group in Settings.model_fields.items()
        if section not in _TABLES
        for field in _fields(group)
    }


def field_info(field: str) -> FieldInfo:
    """Returns the declaration of a field: its type, default and description."""
    return _fields(Settings.model_fields[section_of_field()[field]])[field]


def _fields(section: FieldInfo) -> dict[str, FieldInfo]:
    group = section.annotation
    if not (isinstance(group, type) and issubclass(group, Section)):
        raise TypeError(f"{group!r} is not a section of settings")
    return group.model_fields


def _from_file(file: Path | None) -> dict[str, dict[str, Any]]:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error}") from error
    for section, group in values.items():
        known = _known(section, list(Settings.model_fields), f"section [{section}] in {path}")
        if not isinstance(group, dict):
            raise ConfigError(f"{known} in {path} is a section: write [{known}] above its keys.")
        if known in _TABLES:
            _check_tables(known, group, path)
            continue
        for key in group:
            names = list(_fields(Settings.model_fields[known]))
            _known(key, names, f"key {key} in [{section}] of {path}")
    return values


def _check_tables(section: str, tables: Mapping[str, Any], path: Path) -> None:
    names = list(_TABLES[section].model_fields)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{name} in [{section}] of {path} is not a table: write [{section}.{name}] above "
                "its keys."
            )
        for key, value in table.items():
            if isinstance(value, dict) and key not in names:
                raise ConfigError(
                    f"{path} has the table [{section}.{name}.{key}]. A name with a dot needs "
                    f'quotes: [{section}."{name}.{key}"].'
                )
            if section == "models" and key in _ADAPTER_KEYS:
                raise ConfigError(
                    f"The key {key} in [{section}.{name}] of {path} is none. A LoRA adapter has a "
                    f'table of its own: [models.NAME] with base = "{name}" and adapter = "FOLDER".'
                )
            _known(key, names, f"key {key} in [{section}.{name}] of {path}")
            kind = _TABLES[section].model_fields[key].annotation
            if isinstance(kind, type) and issubclass(kind, Section) and isinstance(value, dict):
                where = f"[{section}.{name}.{key}] of {path}"
                for inner in value:
                    _known(inner, list(kind.model_fields), f"key {inner} in {where}")


def _put(
    values: dict[str, dict[str, Any]],
    sections: Mapping[str, str],
    field: str,
    value: Any,
    *,
    source: str,
) -> None:
    _known(field, list(sections), source)
    kind = get_origin(field_info(field).annotation)
    if kind is dict and isinstance(value, str):
        value = _table(value, source)
    elif kind is tuple:
        texts = (value,) if isinstance(value, str) else value
        value = tuple(item for text in texts for item in _list(text, source))
    values.setdefault(sections[field], {})[field] = value


def _list(text: str, source: str) -> Sequence[Any]:
    """Parses `a, b` or a JSON list."""
    value = _json(text, source) if _is_json(text) else _parts(text)
    if not isinstance(value, list):
        raise ConfigError(f"The {source} is {text!r}: expected a, b or a JSON list.")
    return value


def _table(text: str, source: str) -> Mapping[str, Any]:
    """Parses `name=value, ...` or a JSON object."""
    if _is_json(text):
        value = _json(text, source)
    else:
        pairs = [part.partition("=") for part in _parts(text)]
        valid = all(name.strip() and separator for name, separator, _ in pairs)
        value = {name.strip(): item.strip() for name, _, item in pairs} if valid else None
    if not isinstance(value, dict):
        raise ConfigError(f"The {source} is {text!r}: expected name=value, ... or a JSON object.")
    return value


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_json(text: str) -> bool:
    return text.lstrip().startswith(("[", "{"))


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"The {source} is not valid JSON: {error}") from error


def _known(name: str, names: list[str], source: str) -> str:
    if name in names:
        return name
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Did you mean {matches[0]}?" if matches else f" Expected one of: {', '.join(names)}."
    raise ConfigError(f"The {source} is unknown.{hint}")


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        reason = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:  # of several sections together
            lines.append(f"{reason}.")
            continue
        section, *rest = (str(part) for part in problem["loc"])
        if section in _TABLES and rest:
            section, rest = f"{section}.{rest[0]}", [part for part in rest[1:] if part != "[key]"]
        where = f"{'.'.join(rest)} in [{section}]" if rest else f"[{section}]"
        lines.append(f"{where} is {_redacted(problem['input'])}: {reason}.")
    return "Invalid settings: " + " ".join(lines)


def _redacted(value: object) -> str:
    """An invalid value for an error message, without the user and password of a URL."""
    return _CREDENTIALS.sub("://...@", repr(value))
