"""A vision tower in INT8: the faster of two kinds, if it still sees the same.

Weights alone in INT8 change little. With activations in INT8 too ("static"), whose ranges are
measured on pictures, the tower takes about two thirds of the time; whether its features are still
those of the model is measured on other pictures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from silkline.engines.openvino.arithmetic import arithmetic
from silkline.engines.openvino.export.images import draw_images
from silkline.engines.openvino.images import Eye, Pixels

_CALIBRATION, _CALIBRATION_SEED = 48, 1
_HELD_OUT, _HELD_OUT_SEED = 12, 2

MIN_COSINE = 0.99
"""Mean over the features of all pictures, between the tower and itself in INT8, to be taken."""

_MAX_TIME = 0.9
"""The static tower is taken when it needs at most this share of the other one's time."""


def quantize_tower(exact: Path, weights: Path, eye: Eye) -> dict[str, Any]:
    """Puts the static tower in place of the one with INT8 weights, where it is proved.

    Args:
        exact: The tower as exported, `.xml`.
        weights: The tower with INT8 weights, which is replaced or stays.
        eye: The model's preprocessing.

    Returns:
        What was measured, and which was chosen: "static" or "weights".
    """
    images = draw_images(_CALIBRATION, _CALIBRATION_SEED)
    pixels = [eye.look([image]) for image in images]
    core = ov.Core()
    static = nncf.quantize(
        core.read_model(exact),
        nncf.Dataset(pixels),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(pixels),
    )
    shown = [eye.look([image]) for image in draw_images(_HELD_OUT, _HELD_OUT_SEED)]
    wanted, _ = _features(core.read_model(exact), shown)
    measured = {}
    for name, tower in (("weights", core.read_model(weights)), ("static", static)):
        seen, seconds = _features(tower, shown)
        measured[name] = {
            "cosine_mean": round(float(_cosines(wanted, seen).mean()), 5),
            "cosine_least": round(float(_cosines(wanted, seen).min()), 5),
            "milliseconds": round(1000 * seconds, 2),
        }
    good = measured["static"]["cosine_mean"] >= MIN_COSINE
    fast = measured["static"]["milliseconds"] <= _MAX_TIME * measured["weights"]["milliseconds"]
    if good and fast:
        _replace(weights, static)
    return {"pictures": _HELD_OUT, **measured, "chosen": "static" if good and fast else "weights"}


def _features(tower: ov.Model, shown: list[Pixels]) -> tuple[NDArray[np.float32], float]:
    """The tower's features of each picture, and the median seconds that one took."""
    run: Callable[[Pixels], Any] = ov.Core().compile_model(tower, "CPU", arithmetic())
    run(shown[0])
    features, seconds = [], []
    for pixels in shown:
        began = time.perf_counter()
        features.append(run(pixels)[0].copy())
        seconds.append(time.perf_counter() - began)
    return np.concatenate(features), statistics.median(seconds)


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Between the vectors of the last axis."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosines: NDArray[np.float32] = (one * other).sum(-1) / np.maximum(lengths, 1e-9)
    return cosines


def _replace(path: Path, model: ov.Model) -> None:
    draft = path.with_name(f"draft-{path.name}")
    ov.save_model(model, draft)
    draft.replace(path)
    draft.with_suffix(".bin").replace(path.with_suffix(".bin"))
