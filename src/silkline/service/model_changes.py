"""The admin API's changes of the models, kept in a file, and how they combine with the settings.

For each model, what changed last counts. A change holds as long as the model's table in the
settings is the one that it was made against; once the owner edits that table, the settings count
again (docs/decisions/0031).
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from silkline.config import (
    UNNAMED,
    EngineSettings,
    ModelSettings,
    Settings,
    check_together,
    with_defaults,
)
from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault
from silkline.service.allowed_models import is_allowed
from silkline.stores.whole_file import replace_file

logger = logging.getLogger("silkline.models")

_VERSION = 1


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the admin API did to one model.

    Attributes:
        against: The digest of the model's table in the settings then; empty if there was none.
        name: The model's name in the API.
        table: Its new table; None if it was removed.
    """

    against: str
    name: str
    table: dict[str, Any] | None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    changes: dict[str, Change]


class ModelChanges:
    """The changes by the models' keys; written to a file before they take effect."""

    def __init__(self, file: str) -> None:
        """Reads the file; an empty path keeps the changes in memory.

        Raises:
            ConfigError: The file is not one of these.
            EnvironmentFault: It cannot be read.
        """
        self._path = Path(file).expanduser() if file else None
        self._changes = {} if self._path is None else _read(self._path)

    def changed(self, key: str) -> bool:
        """Whether a model is as the admin API set it, and not as in the settings."""
        return key in self._changes

    def applied(self, settings: Settings) -> dict[str, ModelSettings]:
        """Returns the models to serve: those of the settings with the changes that still hold.

        Changes whose table the owner has edited since are left out, and not kept.

        Raises:
            ConfigError: No model is left, or two have the same name.
        """
        found = dict(settings.served)
        kept: dict[str, Change] = {}
        for key, change in self._changes.items():
            if change.against != _digest(_table(settings, key)):
                fields = {"silkline.model": change.name}
                logger.warning(
                    "the settings of a model were edited since the admin API changed it; "
                    "the settings count",
                    extra={"ecs": fields},
                )
                continue
            kept[key] = change
            if change.table is None:
                found.pop(key, None)
            elif is_allowed((changed := _settings_of(settings.engine, change)).loads, settings):
                found[key] = changed
            else:
                fields = {"silkline.model": change.name}
                logger.error("allowed_models no longer allows a model", extra={"ecs": fields})
        if not found:
            raise ConfigError(
                "The admin API has removed the last model of the settings. Add a table to "
                "[models], or remove the file of admin_state."
            )
        try:
            check_together(found)
        except ValueError as error:
            raise ConfigError(f"With the admin API's changes {error}.") from error
        self._changes = kept
        return found

    def record(self, key: str, name: str, table: ModelSettings | None, settings: Settings) -> None:
        """Keeps a change; atomic, and on the disk when this returns.

        Args:
            key: The model's key.
            name: Its name in the API.
            table: Its new table, as the client sent it; None if it was removed.
            settings: The settings that it changes.

        Raises:
            EnvironmentFault: The file cannot be written; nothing has changed.
        """
        against = _digest(_table(settings, key))
        changes = {**self._changes}
        if table is None and not against:
            changes.pop(key, None)
        else:
            changes[key] = Change(against, name, None if table is None else explicit(table))
        if self._path is not None:
            _write(self._path, msgspec.json.encode(_File(_VERSION, changes)))
        self._changes = changes


def explicit(settings: EngineSettings) -> dict[str, Any]:
    """Returns the values that were set, as JSON has them."""
    return settings.model_dump(mode="json", exclude_unset=True)


def _table(settings: Settings, key: str) -> EngineSettings | None:
    """The part of the settings that a model has for itself."""
    if not settings.models:
        return settings.engine if key == UNNAMED else None
    return settings.models.get(key)


def _digest(settings: EngineSettings | None) -> str:
    if settings is None:
        return ""
    encoded = msgspec.json.encode(explicit(settings), order="deterministic")
    return hashlib.sha256(encoded).hexdigest()


def _settings_of(engine: EngineSettings, change: Change) -> ModelSettings:
    try:
        table = ModelSettings.model_validate(change.table)
        return with_defaults(engine, change.name, table)
    except (ValidationError, ValueError) as error:
        raise ConfigError(
            f"The file of admin_state has a model {change.name} that is not valid. Remove the file."
        ) from error


def _read(path: Path) -> dict[str, Change]:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be read: {error.strerror}.") from error
    except UNDECODABLE as error:
        raise ConfigError(
            f"{path} does not hold changes of models. Name another file in admin_state, or remove "
            "this one."
        ) from error
    if file.version != _VERSION:
        raise ConfigError(
            f"{path} is of version {file.version}, and this Silkline reads {_VERSION}. Remove it, "
            "or use the Silkline that wrote it."
        )
    return file.changes


def _write(path: Path, content: bytes) -> None:
    """Replaces a file: after a crash it is the old or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror}.") from error
