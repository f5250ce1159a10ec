"""From what the user calls a model to where it lies, and to the bundle that is served."""

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
    """What a model was given as."""

    BUNDLE = "bundle"
    FOLDER = "folder"
    HUB = "hub"


class ModelLocation(msgspec.Struct, frozen=True):
    """Where a model lies.

    Attributes:
        model: What the user calls it.
        kind: What that is.
        folder: Where its files are.
        revision: The commit of a model from the hub, the digest of a bundle; None for a folder.
        license: As the bundle, the model card or the text of the licence says; None where none
            does.
        bundle: The bundle's manifest, where it is one.
    """

    model: str
    kind: Kind
    folder: Path
    revision: str | None
    license: str | None
    bundle: Bundle | None = None


def bundled_folder() -> Path:
    """Where the bundled model lies inside the installed package."""
    return Path(__file__).parent / "mini"


def locate_model(model: str, environment: Mapping[str, str]) -> ModelLocation:
    """Finds a model on this machine, of whatever form; no weight is read and nothing is fetched.

    Args:
        model: `silkline-mini`, the path of a folder or a bundle, or a hub id, `org/name` or
            `org/name@revision`. A folder of that name wins over a hub id.
        environment: The process's variables, for the place of the Hugging Face cache.

    Raises:
        ConfigError: The text is none of these, or names a file, or a folder without a model.
        EnvironmentFault: The hub's model is not in the local cache, or not whole there; the message
            names the command that gets it. Or the system does not let it be looked for.
    """
    with looking_for("model", model):
        return _located(model, environment)


def _located(model: str, environment: Mapping[str, str]) -> ModelLocation:
    if not model.strip():
        raise ConfigError(f"No model is named: expected {_EXPECTED}.")
    folder = bundled_folder() if model == BUNDLED_MODEL else expanded(model)
    if folder.exists():
        return _in_folder(model, folder)
    wanted = None if is_path(model) else parse_hub_id(model)
    if wanted is None:
        raise absence(model, folder, _EXPECTED)
    try:
        snapshot = find_snapshot(wanted, cache_folder(environment))
    except EnvironmentFault:
        if folder.parent.is_dir():  # then org/name is rather meant as a path
            raise absence(model, folder, _EXPECTED) from None
        raise
    if not _holds_model(snapshot.folder):
        if adapter := adapter_refusal(snapshot.folder):
            raise ConfigError(f"The repository {model} is no model: {adapter}.")
        raise EnvironmentFault(
            f"The local cache holds {model} without its {CONFIG}.", remedy=wanted.download
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
    """Finds a bundle and checks that its files are whole.

    Args:
        model: `silkline-mini`, or the path of a bundle's folder.

    Raises:
        ConfigError: There is no such bundle, or files of it are missing or damaged.
    """
    folder = bundled_folder() if model == BUNDLED_MODEL else expanded(model)
    if not (folder / MANIFEST).is_file():
        raise ConfigError(
            f"There is no bundle {model}: expected {BUNDLED_MODEL} or the folder of a bundle "
            f"(a folder with a {MANIFEST}). About other models, ask: silkline inspect MODEL."
        )
    bundle = load_bundle(folder)
    if damaged := bundle.damaged_files():
        raise ConfigError(
            f"Files of the bundle {model} are missing or damaged: {', '.join(damaged)}. "
            "Install or copy the bundle again."
        )
    return bundle


def _holds_model(folder: Path) -> bool:
    """Whether a folder holds a model of transformers, or one for llama.cpp."""
    return (folder / CONFIG).is_file() or any(folder.glob("*.gguf"))
