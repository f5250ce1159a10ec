"""Finds the exact weights that optimisations start from, where a model has compressed ones."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from silkline.config import EngineSettings
from silkline.engines.registry import engine_spec
from silkline.errors import EnvironmentFault, SilklineError
from silkline.models.bundle import Bundle, load_bundle
from silkline.models.resolve import locate_model, resolve_model
from silkline.optimize.optimisation import OnStage
from silkline.optimize.plain import plain_bundle
from silkline.service.pool import OnNotice, prepared_model

EXACT = frozenset({"float16", "fp16", "bfloat16", "bf16", "float32", "fp32"})
"""Precisions of weights that were not compressed."""

_ORIGINAL = "torch"
"""The engine whose weights are those of the publisher."""


async def exact_bundle(
    wanted: EngineSettings,
    engine: str,
    work: Path,
    stack: AsyncExitStack,
    on_notice: OnNotice,
    on_stage: OnStage,
) -> Bundle:
    """The bundle with exact weights of a model, for an engine; exports the model if needed.

    A bundle whose weights for the engine are compressed is exported from the original weights
    beside them. If it has none, or they cannot be exported, it is returned as it is: some
    optimisations apply all the same.

    Args:
        wanted: The settings that name the model.
        engine: The engine that will serve it.
        work: Folder for links to the original weights.
        stack: Keeps an export from being removed.
        on_notice: Called with why the original weights cannot be exported.
        on_stage: Called with what is being done.

    Raises:
        ConfigError: The model is unknown or damaged, or is no bundle and cannot be exported.
        EnvironmentFault: The model is no bundle, and what exports it is missing.
    """
    location = locate_model(wanted.model, os.environ)
    if location.bundle is None:
        if engine_spec(engine).export is None:
            return await asyncio.to_thread(plain_bundle, location, engine, work)
        return await _exported(wanted, wanted.model, engine, stack, on_stage)
    bundle = await asyncio.to_thread(resolve_model, wanted.model)
    entry = bundle.manifest.engines.get(engine)
    exports = engine_spec(engine).export is not None
    if entry is None or not exports or entry.precision in EXACT:
        return bundle
    original = bundle.manifest.engines.get(_ORIGINAL)
    if original is None or original.precision not in EXACT:
        return bundle
    source = work / bundle.manifest.name
    _link(bundle, bundle.weights(_ORIGINAL), source)
    try:
        return await _exported(wanted, str(source), engine, stack, on_stage)
    except SilklineError as error:
        on_notice(f"the exact weights cannot be exported, so little applies: {error.message}")
        return bundle


async def _exported(
    wanted: EngineSettings, model: str, engine: str, stack: AsyncExitStack, on_stage: OnStage
) -> Bundle:
    exact = wanted.model_copy(update={"model": model, "precision": "fp16"})
    files = await prepared_model(exact, engine, on_stage)
    if files.hold is not None:
        stack.callback(files.hold.release)
    return load_bundle(files.folder)


def _link(bundle: Bundle, weights: Path, source: Path) -> None:
    """Links the files of one engine into a folder that is no bundle."""
    try:
        source.mkdir(parents=True, exist_ok=True)
        for name in bundle.manifest.files:
            file = bundle.folder / name
            if file.parent == weights:
                (source / file.name).unlink(missing_ok=True)
                (source / file.name).symlink_to(file.resolve())
    except OSError as error:
        raise EnvironmentFault(
            f"{source} cannot be written: {error.strerror}. Choose another folder by --out."
        ) from error
