"""The size of a model's weights, from its files."""

from __future__ import annotations

from pathlib import Path

from silkline.engines.registry import engine_spec
from silkline.models.bundle import MANIFEST, load_bundle
from silkline.models.weights import read_weights
from silkline.service.pool import needs_model, prepared_model
from silkline.service.subject import SubjectSpec, bundle_of


async def size_of(spec: SubjectSpec, engine: str) -> int | None:
    """Bytes of the weights that an engine loads for a subject; None if it loads none here.

    Args:
        spec: The subject.
        engine: The engine that served it.

    Raises:
        SilklineError: The model's files cannot be read.
    """
    if spec.settings.engine.remotes or not needs_model(engine):
        return None
    if (bundle := bundle_of(spec)) is not None:  # its files were read to their end when it answered
        return weight_bytes(bundle.weights(engine), engine)
    files = await prepared_model(spec.settings.engine, engine)
    if files.hold is not None:
        files.hold.release()
    folder = files.folder
    if (folder / MANIFEST).is_file():
        folder = load_bundle(folder).weights(engine)
    return weight_bytes(folder, engine)


def weight_bytes(folder: Path, engine: str) -> int | None:
    """Bytes of the files with the weights that an engine loads from a folder; None if none.

    Weights in another format beside them do not count.

    Raises:
        ConfigError: A file is damaged.
    """
    found = read_weights(folder)
    if engine_spec(engine).export is not None and found.openvino:
        return sum(size for name, size in found.openvino.items() if name.endswith(".bin"))
    gguf = sum((folder / name).stat().st_size for name in found.gguf)
    return found.bytes or gguf or None
