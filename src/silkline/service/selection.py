"""Which models `silkline up` serves: those of the settings, or those that its arguments name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

from silkline.config import ModelSettings, Settings, with_models
from silkline.errors import ConfigError
from silkline.models.label import label_of
from silkline.models.resolve import locate_model
from silkline.service.pool import as_typed, needs_model


def name_of(model: str, engine: str) -> str:
    """Returns the name under which a model is served beside others, from how the user names it.

    Raises:
        ConfigError: There is no such model, or its manifest is damaged.
        EnvironmentFault: It is not in the local cache.
    """
    if not needs_model(engine):
        return PurePath(model.partition("@")[0]).name
    location = locate_model(model, os.environ)
    return location.bundle.manifest.name if location.bundle is not None else label_of(location)


def selected(settings: Settings, models: Sequence[str]) -> Settings:
    """Returns the settings that serve only these models.

    Args:
        settings: The settings.
        models: Names of tables in `[models]`, or models as the user names them; a single one that
            is not a table is the model of `[engine]`. Empty keeps all.

    Raises:
        ConfigError: Two models have the same name, or as `name_of` does.
        EnvironmentFault: As `name_of` does.
    """
    if not models:
        return settings
    engine = settings.engine
    if len(models) == 1 and models[0] not in settings.models:
        return with_models(settings, engine.model_copy(update={"model": models[0]}), {})
    tables: dict[str, ModelSettings] = {}
    for model in models:
        if model in settings.models:
            name, table = model, settings.models[model]
        else:
            name = name_of(model, engine.engine)
            typed = tuple(alias for alias in as_typed(model) if alias != name)
            table = ModelSettings(model=model, aliases=typed)
        if name in tables:
            raise ConfigError(
                f"Two of the models would have the name {name}. Give each a table of its own in "
                'silkline.toml, such as [models.first] with model = "...".'
            )
        tables[name] = table
    return with_models(settings, engine, tables)
