"""From what the user calls a model to the files that an engine serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from silkline.config import EngineSettings
from silkline.engines.openvino.export.plan import (
    Precision,
    is_export,
    label_of,
    plan_export,
)
from silkline.engines.openvino.export.process import export_model
from silkline.errors import EnvironmentFault
from silkline.models.inspection import check_engine
from silkline.models.resolve import Kind, ModelLocation, locate_model, resolve_model
from silkline.models.source import Digests
from silkline.models.store import Hold, Store, store_folder

Watch = Callable[[str], None]
"""Told what is being done, in words."""

_OPENVINO = "openvino"
_DIGESTS = "digests.json"
_REVISION_LENGTH = 12


class ModelFiles(NamedTuple):
    """What an engine serves.

    Attributes:
        folder: The model's folder.
        name: Its public name: the setting `served_name`, or where no manifest says one, the
            model's label; else empty.
        revision: Its short revision, likewise.
        hold: Keeps the folder from being removed, where it is an entry of the store; to be released
            when it is served no more.
    """

    folder: Path
    name: str
    revision: str
    hold: Hold | None = None


def prepare_model(
    wanted: EngineSettings, engine: str, environment: Mapping[str, str], watch: Watch
) -> ModelFiles:
    """Finds a model, checks its files, and exports it where the engine needs that.

    This reads large files, and takes minutes where a model is exported for the first time.

    Args:
        wanted: Which model, and how it is exported.
        engine: The engine's name; not `auto`.
        environment: The process's variables, for the places of caches.
        watch: Told what is being done.

    Raises:
        ConfigError: There is no such model, its files are damaged, or the engine cannot serve it.
        EnvironmentFault: The model is not in the local cache, or what exports it is missing.
    """
    place = locate_model(wanted.model, environment)
    store = Store(store_folder(wanted.export_store, environment))
    if place.bundle is not None:
        key = store.key_of(place.folder)
        if key is None:
            return ModelFiles(resolve_model(wanted.model).folder, wanted.served_name, "")
        with _held(store, key) as hold:
            return ModelFiles(resolve_model(wanted.model).folder, wanted.served_name, "", hold)
    check_engine(place, engine)
    exports = engine == _OPENVINO and not is_export(place.folder)
    watch("reading the model's files")
    digest = _digest(place, store.folder)
    name = wanted.served_name or label_of(place)
    if exports:
        plan = plan_export(place, Precision(wanted.precision), digest)
        with _held(store, plan.key) as hold:
            return ModelFiles(export_model(plan, store, watch).folder, name, "", hold)
    commit = place.revision if place.kind is Kind.HUB else None
    return ModelFiles(place.folder, name, (commit or digest)[:_REVISION_LENGTH])


@contextmanager
def _held(store: Store, key: str) -> Iterator[Hold]:
    """Holds an entry of the store for good, unless what is done with it fails."""
    hold = store.hold(key)
    try:
        yield hold
    except BaseException:
        hold.release()
        raise


def _digest(place: ModelLocation, store: Path) -> str:
    try:
        return Digests(store / _DIGESTS).folder(place.folder)
    except OSError as error:
        raise EnvironmentFault(
            f"A file of {place.model} cannot be read: {error.strerror}."
        ) from error
