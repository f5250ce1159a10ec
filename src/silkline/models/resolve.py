"""Resolves the user's name for a model to its folder, and to the bundle to serve."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.adapter import adapter_refusal
from silkline.models.bundle import MANIFEST, Bundle, load_bundle
from silkline.models.documents import CONFIG
from silkline.models.home import expanded
from silkline.models.hub import cache_folder, find_snapshot, parse_hub_id
from silkline.models.license import read_license
from silkline.models.not_a_model import (
    absence,
    file_refusal,
    folder_refusal,
    is_path,
)
from silkline.models.user_paths import looking_for

BUNDLED_MODEL = "silkline-mini"
_EXPECTED = f"{BUNDLED_MODEL}, a folder, or a hub id such as org/name or org/name@revision"


class Kind(StrEnum):
    """The form in which a model was named."""

    BUNDLE = "bundle"
    FOLDER = "folder"
    HUB = "hub"


class ModelLocation(msgspec.Struct, frozen=True):
    """The location of a model on this machine.

    Attributes:
        model: The user's name for it.
        kind: The form of that name.
        folder: The folder of its files.
        revision: The commit of a model from the hub, the digest of a bundle; None for a folder.
        license: The licence in the bundle, the model card or the licence text; None if unknown.
        bundle: The bundle, if it is one.
    """

    model: str
    kind: Kind
    folder: Path
    revision: str | None
    license: str | None
    bundle: Bundle | None = None


def bundled_folder() -> Path:
    """The folder of the bundled model inside the installed package."""
    return Path(__file__).parent / "mini"


def locate_model(model: str, environment: Mapping[str, str]) -> ModelLocation:
    """Finds a model on this machine. Reads no weights and downloads nothing.

    Args:
        model: `silkline-mini`, the path of a folder or a bundle, or a hub id, `org/name` or
            `org/name@revision`. A folder of that name takes precedence over a hub id.
        environment: The environment variables, to find the Hugging Face cache.

    Raises:
        ConfigError: The text is none of these, or names a file, or a folder without a model.
        EnvironmentFault: The hub's model is missing from the local cache, or incomplete there; the
            message names the command that downloads it. Or the system denies access to the path.
    """
    with looking_for("model", model):
        return _located(model, environment)


def _located(model: str, environment: Mapping[str, str]) -> ModelLocation:
    if not model.strip():
        raise ConfigError(f"No model is named: expected {_EXPECTED}.")
    folder = bundled_folder() if model == BUNDLED_MODEL else expanded(model)
    if folder.exists():
        return _in_folder(model, folder)
    hub_id = None if is_path(model) else parse_hub_id(model)
    if hub_id is None:
        raise absence(model, folder, _EXPECTED)
    try:
        snapshot = find_snapshot(hub_id, cache_folder(environment))
    except EnvironmentFault:
        if folder.parent.is_dir():  # the user probably meant org/name as a path
            raise absence(model, folder, _EXPECTED) from None
        raise
    if not _holds_model(snapshot.folder):
        if adapter := adapter_refusal(snapshot.folder):
            raise ConfigError(f"The repository {model} is not a model: {adapter}.")
        raise EnvironmentFault(
            f"The local cache holds {model} without its {CONFIG}.", remedy=hub_id.download
        )
    return ModelLocation(
        model, Kind.HUB, snapshot.folder, snapshot.commit, read_license(snapshot.folder)
    )


def _in_folder(model: str, folder: Path) -> ModelLocation:
    if not folder.is_dir():
        raise file_refusal(model, folder)
    if (folder / MANIFEST).is_file():
        bundle = load_bundle(folder)
        manifest = bundle.manifest
        return ModelLocation(
            model, Kind.BUNDLE, folder, manifest.revision, manifest.license, bundle
        )
    if not _holds_model(folder):
        raise folder_refusal(model, folder)
    return ModelLocation(model, Kind.FOLDER, folder, None, read_license(folder))


def resolve_model(model: str) -> Bundle:
    """Finds a bundle and checks the digests of its files.

    Args:
        model: `silkline-mini`, or the path of a bundle's folder.

    Raises:
        ConfigError: There is no such bundle, or files of it are missing or damaged.
    """
    folder = bundled_folder() if model == BUNDLED_MODEL else expanded(model)
    if not (folder / MANIFEST).is_file():
        raise ConfigError(
            f"There is no bundle {model}: expected {BUNDLED_MODEL} or the folder of a bundle "
            f"(a folder with a {MANIFEST}). For other models, run: silkline inspect MODEL."
        )
    bundle = load_bundle(folder)
    if damaged := bundle.damaged_files():
        raise ConfigError(
            f"Files of the bundle {model} are missing or damaged: {', '.join(damaged)}. "
            "Install or copy the bundle again."
        )
    return bundle


def _holds_model(folder: Path) -> bool:
    """Whether a folder holds a transformers model or one for llama.cpp."""
    return (folder / CONFIG).is_file() or any(folder.glob("*.gguf"))
