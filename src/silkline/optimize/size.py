"""The size of a model's weights, from its files."""

from __future__ import annotations

from pathlib import Path

from silkline.models.bundle import MANIFEST, load_bundle
from silkline.service.pool import needs_model, prepared_model
from silkline.service.subject import SubjectSpec

_WEIGHTS = ((".safetensors",), (".bin", ".pt", ".pth"), (".gguf",))
"""Endings of files with weights. Of one folder, only those of the first that is there count: some
publishers put the same weights beside each other in two formats."""


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
    files = await prepared_model(spec.settings.engine, engine)
    if files.hold is not None:
        files.hold.release()
    folder = files.folder
    if (folder / MANIFEST).is_file():
        folder = load_bundle(folder).weights(engine)
    return weight_bytes(folder)


def weight_bytes(folder: Path) -> int | None:
    """Bytes of the files with weights in a folder; None if there are none."""
    for endings in _WEIGHTS:
        found = [path for path in folder.iterdir() if path.suffix in endings and path.is_file()]
        if found:
            return sum(path.stat().st_size for path in found)
    return None
