"""Quantises a vision tower to INT8: picks the faster of two variants, if its features match.

INT8 weights alone change little. With INT8 activations too ("static"), whose ranges are measured on
images, the tower takes about two thirds of the time. Whether its features still match the model's
is measured on other images.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from silkline.engines.openvino.arithmetic import arithmetic
from silkline.engines.openvino.export.images import draw_images
from silkline.engines.openvino.images import ClipPreprocessor, Pixels

_CALIBRATION, _CALIBRATION_SEED = 48, 1
_HELD_OUT, _HELD_OUT_SEED = 12, 2

MIN_COSINE = 0.99
"""Minimum mean cosine between the features of the static and the exact tower, over all images."""

_MAX_TIME = 0.9
"""The static tower is chosen if it needs at most this share of the time of the other one."""


def quantize_tower(exact: Path, weights: Path, preprocessor: ClipPreprocessor) -> dict[str, Any]:
    """Replaces the tower with INT8 weights by the static one, if that is accurate and faster.

    Args:
        exact: The tower as exported, `.xml`.
        weights: The tower with INT8 weights, which may be replaced.
        preprocessor: The model's preprocessing.

    Returns:
        The measurements, and which tower was chosen: "static" or "weights".
    """
    images = draw_images(_CALIBRATION, _CALIBRATION_SEED)
    pixels = [preprocessor.pixels([image]) for image in images]
    core = ov.Core()
    static = static_tower(exact, pixels)
    held_out = [preprocessor.pixels([image]) for image in draw_images(_HELD_OUT, _HELD_OUT_SEED)]
    expected, _ = _features(core.read_model(exact), held_out)
    measured = {}
    for name, tower in (("weights", core.read_model(weights)), ("static", static)):
        actual, seconds = _features(tower, held_out)
        measured[name] = {
            "cosine_mean": round(float(_cosines(expected, actual).mean()), 5),
            "cosine_least": round(float(_cosines(expected, actual).min()), 5),
            "milliseconds": round(1000 * seconds, 2),
        }
    accurate = measured["static"]["cosine_mean"] >= MIN_COSINE
    fast = measured["static"]["milliseconds"] <= _MAX_TIME * measured["weights"]["milliseconds"]
    if accurate and fast:
        replace_graph(weights, static)
    return {
        "pictures": _HELD_OUT,
        **measured,
        "chosen": "static" if accurate and fast else "weights",
    }


def static_tower(exact: Path, pixels: Sequence[Pixels]) -> ov.Model:
    """The tower with weights and activations in INT8, calibrated with these images."""
    return nncf.quantize(
        ov.Core().read_model(exact),
        nncf.Dataset(pixels),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(pixels),
    )


def _features(tower: ov.Model, inputs: list[Pixels]) -> tuple[NDArray[np.float32], float]:
    """The tower's features of each image, and the median seconds per image."""
    run: Callable[[Pixels], Any] = ov.Core().compile_model(tower, "CPU", arithmetic())
    run(inputs[0])
    features, seconds = [], []
    for pixels in inputs:
        began = time.perf_counter()
        features.append(run(pixels)[0].copy())
        seconds.append(time.perf_counter() - began)
    return np.concatenate(features), statistics.median(seconds)


def _cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosines between the vectors on the last axis."""
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    cosines: NDArray[np.float32] = (first * second).sum(-1) / np.maximum(lengths, 1e-9)
    return cosines


def replace_graph(path: Path, model: ov.Model) -> None:
    """Writes a graph over the file that it was read from, which it may still use."""
    draft = path.with_name(f"draft-{path.name}")
    ov.save_model(model, draft)
    draft.replace(path)
    draft.with_suffix(".bin").replace(path.with_suffix(".bin"))
