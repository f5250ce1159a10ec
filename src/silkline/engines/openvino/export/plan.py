"""What is to be exported, whether it can be, and under which key it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from silkline.engines.openvino.export.environment import pins_of
from silkline.engines.openvino.support import EXPORTED_MODEL_TYPES
from silkline.engines.registry import check_engine
from silkline.errors import EnvironmentFault
from silkline.models.documents import CONFIG, read_document
from silkline.models.label import label_of, public_name
from silkline.models.resolve import Kind, ModelLocation
from silkline.models.weights import LANGUAGE_MODEL, Weights, read_weights

RECIPE = 1
"""Raised when exports come out otherwise with the same libraries; it is part of the key."""

EXPORTERS = ("optimum-intel", "nncf", "torch", "transformers")
"""Packages of the export environment whose versions decide what an export is."""

ENGINE = ("openvino", "openvino-genai", "openvino-tokenizers")
"""Packages of the engine, which also convert and prove the export."""

_REMEDY = "pip install 'silkline[openvino]'"
_HALF, _BYTE = 2, 1
_FIXED_BYTES = 64 * 1024 * 1024
"""Graphs, tokenizers and what else does not grow with the weights."""

_KEY_LENGTH = 32


class Precision(StrEnum):
    """How an export's weights are kept."""

    INT8 = "int8"
    FP16 = "fp16"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made; everything here but `source` and `name` decides about the key.

    Attributes:
        source: The folder of the model.
        name: The model's public name.
        parent: What it was made from: a hub id with its commit, or a folder's name.
        license: As the model's files say; empty where they do not.
        model_type: As config.json says.
        digest: SHA-256 over the model's files.
        precision: Of the weights.
        versions: Of the libraries that export, by distribution.
        environment: The group of model types whose environment exports it.
        parameters: Numbers in the weights.
    """

    source: str
    name: str
    parent: str
    license: str
    model_type: str
    digest: str
    precision: Precision
    versions: dict[str, str]
    environment: str
    parameters: int

    @property
    def key(self) -> str:
        """The name in the store: alike where the export would be."""
        said = {
            "recipe": RECIPE,
            "digest": self.digest,
            "precision": self.precision,
            "versions": self.versions,
        }
        text = msgspec.json.encode(said, order="sorted")
        return hashlib.sha256(text).hexdigest()[:_KEY_LENGTH]

    @property
    def disk_bytes(self) -> int:
        """Most bytes that the work takes on the disk: the float16 form, and the INT8 one of it."""
        final = _HALF if self.precision is Precision.FP16 else _HALF + _BYTE
        return self.parameters * final + _FIXED_BYTES


def is_export(folder: Path) -> bool:
    """Whether a folder holds OpenVINO IR already, which is served as it is."""
    return (folder / LANGUAGE_MODEL).is_file()


def plan_export(location: ModelLocation, precision: Precision, digest: str) -> Plan:
    """The plan for a model.

    Args:
        location: Where the model lies.
        precision: Of the weights.
        digest: Over its files, see `silkline.models.source`.

    Raises:
        ConfigError: The engine openvino cannot serve it.
        EnvironmentFault: OpenVINO is not installed.
    """
    check_engine(location, "openvino")
    model_type = read_document(location.folder / CONFIG, CONFIG).text("model_type") or ""
    group = EXPORTED_MODEL_TYPES[model_type]
    commit = f"@{location.revision}" if location.kind is Kind.HUB else ""
    return Plan(
        source=str(location.folder),
        name=label_of(location),
        parent=f"{public_name(location)}{commit}",
        license=location.license or "",
        model_type=model_type,
        digest=digest,
        precision=precision,
        versions=_versions(pins_of(group)),
        environment=group,
        parameters=_parameters(read_weights(location.folder)),
    )


def _parameters(weights: Weights) -> int:
    return sum(weights.dtypes.values())


def _versions(pins: Mapping[str, str]) -> dict[str, str]:
    """Raises `EnvironmentFault` if OpenVINO is not installed."""
    try:
        engine = {name: version(name) for name in ENGINE}
    except PackageNotFoundError as error:
        raise EnvironmentFault(
            f"Exporting a model needs {error.name}, which is not installed.", remedy=_REMEDY
        ) from error
    return {name: pins[name] for name in EXPORTERS} | engine
