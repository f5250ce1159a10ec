"""Reads a bundle: a folder that is the unit of deployment, described by its `bundle.json`.

The manifest names the model, the folder of each engine's weights, and the SHA-256 of every file.
It is read as JSON into typed structures; nothing in a bundle is ever executed or unpickled.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from silkline.errors import ConfigError
from silkline.models.pruning import Pruning

MANIFEST = "bundle.json"
SCHEMA = 1

Label = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,100}\Z")]
"""A name that is safe in a header, a path and a log line."""

InnerPath = Annotated[str, Meta(pattern=r"\A(?!/)(?!(?:.*/)?\.\.(?:/|\Z))[^\x00-\x1f\\]+\Z")]
"""A path inside the bundle: relative, without `..`."""

Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]


class EngineWeights(msgspec.Struct, frozen=True):
    """Where one engine finds its weights.

    Attributes:
        path: The folder, relative to the bundle.
        precision: Precision of the decoder's weights, such as "int8".
        vision_precision: Precision of the vision tower's weights, if it differs.
        kv_precision: Precision of the KV cache, in the engine's terms; None lets the engine choose.
        pruning: How images' features become fewer tokens; None if all stay.
        options: Options of the engine that are best for the bundle; the user's take precedence.
        threads: Compute threads that are best for it; 0 lets the engine choose.
    """

    path: InnerPath
    precision: str
    vision_precision: str | None = None
    kv_precision: Literal["u8", "f16"] | None = None
    pruning: Pruning | None = None
    options: dict[str, str] = {}
    threads: NotNegative = 0


class Calibration(msgspec.Struct, frozen=True):
    """What calibrated a bundle, as in its manifest.

    Attributes:
        dataset: The data set's name.
        digest: Digest of the images.
        seed: Seed of the draw.
        images: Digests of the images, which must not be evaluated with.
    """

    dataset: str
    digest: str
    seed: int
    images: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of `bundle.json`. Other keys are for people and are ignored.

    Attributes:
        schema: Version of this format.
        name: The model's public name: up to 100 of `A-Z a-z 0-9 . _ -`.
        family: Architecture family in the terms of transformers, such as "llava".
        revision: Short digest over the weights, in the same characters.
        license: SPDX identifier.
        context_length: Maximum number of tokens of prompt and answer together.
        image_tokens: Maximum number of prompt tokens of an image.
        image_size: Length in pixels to which the model scales the shorter edge of every image;
            None if the model has no fixed size.
        engines: Weights by engine name.
        files: SHA-256 in hex by file path, relative to the bundle.
        optimized_from: The bundle that optimisations were applied to, as name@revision; None if it
            was made from a publisher's files.
        calibration: The images that calibrated it; None if none did.
    """

    schema: int
    name: Label
    family: str
    revision: Label
    license: str
    context_length: Positive
    image_tokens: Positive
    image_size: Positive | None
    engines: dict[str, EngineWeights]
    files: dict[InnerPath, str]
    optimized_from: str | None = None
    calibration: Calibration | None = None


class Bundle(msgspec.Struct, frozen=True):
    """A bundle on disk."""

    folder: Path
    manifest: Manifest

    def weights(self, engine: str) -> Path:
        """The folder with the weights for an engine.

        Raises:
            ConfigError: The bundle has no weights for this engine.
        """
        entry = self.manifest.engines.get(engine)
        if entry is None:
            known = ", ".join(sorted(self.manifest.engines))
            raise ConfigError(
                f"The bundle {self.manifest.name} has no weights for the engine {engine}; "
                f"it has weights for: {known}. Choose one of these with --engine."
            )
        return self.folder / entry.path

    @property
    def label(self) -> str:
        """The model's name and revision: `name@revision`."""
        return f"{self.manifest.name}@{self.manifest.revision}"

    def damaged_files(self) -> list[str]:
        """Files of the manifest that are missing or whose digest differs, sorted by name."""
        return [
            name
            for name, digest in sorted(self.manifest.files.items())
            if _sha256(self.folder / name) != digest
        ]


def load_bundle(folder: Path) -> Bundle:
    """Reads a bundle's manifest.

    Raises:
        ConfigError: There is no manifest, or it does not match the documented schema.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ConfigError(
            f"{folder} is not a bundle: its {MANIFEST} cannot be read ({error.strerror})."
        ) from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} does not have the form of a manifest: {error}.") from error
    if manifest.schema != SCHEMA:
        raise ConfigError(
            f"{path} has schema {manifest.schema}; this version of Silkline reads {SCHEMA}."
        )
    return Bundle(folder=folder, manifest=manifest)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
