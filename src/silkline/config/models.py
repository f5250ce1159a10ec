"""The tables `[models.NAME]`, each with the settings of one model, and who may change them.

A table has the keys of `[engine]`, which holds the values that a table leaves out, and those of
`ModelSettings`. Without tables, `[engine]` is the one model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from silkline.config.sections import EngineSettings, Section

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")

_MAX_SECONDS = 366 * 24 * 3600

_OF_ADAPTERS = {"base", "adapter", "aliases", "served_name"}
"""Settings that an adapter has for itself."""

UNNAMED = ""
"""The key of the model of `[engine]`, whose name only its engine may know."""


def _model_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "expected up to 100 of A-Z a-z 0-9 . _ : / -, starting with a letter or digit"
        )
    return name


ModelName = Annotated[str, AfterValidator(_model_name)]
"""The name of a model in the API."""

_Alias = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ModelSettings(EngineSettings):
    """A model: the settings of its engine, and its place beside the other models."""

    aliases: tuple[_Alias, ...] = Field((), description="Other names that requests may use.")
    cores: float = Field(
        1.0,
        gt=0,
        le=1e6,
        description="Relative share of the cores that models with a number of `threads` leave.",
    )
    memory: float = Field(
        1.0,
        gt=0,
        le=1e6,
        description="Relative share, for KV caches, of the memory that all models leave.",
    )
    idle_s: float = Field(
        0.0,
        ge=0,
        le=_MAX_SECONDS,
        description="Seconds without a request after which the model is unloaded; the next request "
        "starts it again. 0 means never.",
    )
    cold_start_wait_s: float = Field(
        30.0,
        gt=0,
        le=_MAX_SECONDS,
        description="Maximum seconds that a request waits for such a start; then it is answered "
        "503 with Retry-After, and the start goes on.",
    )
    base: str = Field(
        "",
        description="Name of another model. This model is a LoRA adapter, which answers with the "
        "base's weights, engine and queue.",
    )
    adapter: str = Field(
        "",
        description="With `base`: the adapter's folder as the library peft saves it; for a base of "
        "the engine remote, its name at the server.",
    )
    cascade: tuple[ModelName, ...] = Field(
        (),
        description="Names of two other models, the small one first. This model has no engine: it "
        "asks the small one, and the large one where `escalate_below` says so.",
    )
    escalate_below: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability of a token below which a cascade's large model answers; "
        "`silkline cascade fit` finds it.",
    )

    @property
    def loads(self) -> str:
        """What is loaded for it: the adapter, or else the model."""
        return self.adapter or self.model


class AdminSettings(Section):
    """Changes of the models while the server runs; see `docs/several.md`."""

    admin_without_keys: Literal["off", "loopback"] = Field(
        "off",
        description="Who may use the admin API of a server without API keys: nobody, or programs "
        "on this machine (loopback).",
    )
    allowed_models: tuple[str, ...] = Field(
        (),
        description="Models that the admin API may load beside those of the settings: folders with "
        "all below them, hub ids such as org/name, or org/* for all of an organisation.",
    )
    admin_state: str = Field(
        "",
        description="File that keeps the admin API's changes across restarts; empty forgets them.",
    )


def resolved(
    engine: EngineSettings, tables: Mapping[str, ModelSettings]
) -> dict[str, ModelSettings]:
    """Returns the models to serve by key; a table takes what it leaves out from `[engine]`.

    Raises:
        ValueError: Two models have the same name or alias, or a table sets `served_name`.
    """
    if not tables:
        return {UNNAMED: ModelSettings(**_set_fields(engine))}
    if engine.served_name:
        raise ValueError(
            f"served_name in [engine] is {engine.served_name}, but the tables [models.NAME] name "
            "the models; leave it out"
        )
    found = {name: with_defaults(engine, name, table) for name, table in tables.items()}
    check_together(found)
    return found


def with_defaults(engine: EngineSettings, name: str, table: ModelSettings) -> ModelSettings:
    """Returns the settings of the model `name`: its table's, else those of `[engine]`.

    Raises:
        ValueError: The table sets `served_name`.
    """
    if "served_name" in table.model_fields_set:
        raise ValueError(
            f"the table [models.{name}] sets served_name, but its name is already {name}. Rename "
            "the table, or use aliases"
        )
    own = {"served_name": name} | _set_fields(table)
    # All else about an adapter is its base's.
    return ModelSettings(**(own if table.base else _set_fields(engine) | own))


def check_together(models: Mapping[str, ModelSettings]) -> None:
    """Checks that models can be served beside each other.

    Raises:
        ValueError: Two have the same name or alias; a cascade does not have two other models
            that are always loaded; or an adapter has no base, or settings that are its base's.
    """
    _check_names(models)
    _check_cascades(models)
    for key, model in models.items():
        if model.base or model.adapter:
            _check_adapter(key, model, models)


def _check_names(models: Mapping[str, ModelSettings]) -> None:
    owners: dict[str, str] = {}
    for key, model in models.items():
        for name in {model.served_name, *model.aliases} - {""}:
            if owners.setdefault(name, key) != key:
                raise ValueError(
                    f"the models {owners[name]} and {key} both have the name or alias {name}; give "
                    "each its own"
                )


def _check_cascades(models: Mapping[str, ModelSettings]) -> None:
    for key, model in models.items():
        if not model.cascade:
            continue
        if len(model.cascade) != 2:  # noqa: PLR2004
            raise ValueError(
                f"the cascade {key} names {len(model.cascade)} models; expected two, the small one "
                "first"
            )
        for name in model.cascade:
            member = models.get(name)
            if member is None:
                raise ValueError(
                    f"the cascade {key} asks {name}, which has no table; add [models.{name}]"
                )
            if member.cascade or member.idle_s:
                what = "is a cascade" if member.cascade else "has idle_s"
                raise ValueError(f"the cascade {key} asks {name}, which {what}")


def _check_adapter(key: str, model: ModelSettings, models: Mapping[str, ModelSettings]) -> None:
    if not (model.base and model.adapter):
        raise ValueError(
            f"the model {key} sets {'base' if model.base else 'adapter'} alone; an adapter needs "
            "both base and adapter"
        )
    if others := sorted(model.model_fields_set - _OF_ADAPTERS):
        raise ValueError(f"the adapter {key} sets {others[0]}, which is its base's; leave it out")
    base = models.get(model.base)
    if base is None:
        raise ValueError(
            f"the adapter {key} shares the weights of {model.base}, which has no table; add "
            f"[models.{model.base}]"
        )
    if base.cascade or base.base:
        what = "a cascade" if base.cascade else "an adapter itself"
        raise ValueError(f"the base {model.base} of the adapter {key} is {what}")


def _set_fields(settings: EngineSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}
