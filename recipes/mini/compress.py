"""INT8 versions of the exported parts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import nncf
import numpy as np
import openvino
from numpy.typing import NDArray

from recipes.mini.render import render
from recipes.mini.scene import TRAIN_SEEDS, sample_scene

CALIBRATION_PICTURES = 300


def pixel_values(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the tower sees of a 96 px picture: (1, 3, 96, 96) float32 in [-1, 1]."""
    scaled = picture.astype(np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def compress_weights(source: Path, target: Path, parts: Sequence[str]) -> None:
    """Copy an IR folder and store the weights of ``parts`` as INT8 (asymmetric, by channel)."""
    shutil.copytree(source, target)
    core = openvino.Core()
    for part in parts:
        name = f"openvino_{part}.xml"
        model = core.read_model(source / name)
        small = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        openvino.save_model(small, target / name)


def quantize_tower(source: Path, target: Path) -> None:
    """Store the vision tower with INT8 weights and activations, calibrated on training pictures."""
    seeds = TRAIN_SEEDS[-CALIBRATION_PICTURES:]
    inputs = [pixel_values(render(sample_scene(seed)).picture) for seed in seeds]
    small = nncf.quantize(
        openvino.Core().read_model(source), nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER, preset=nncf.QuantizationPreset.MIXED,
        subset_size=CALIBRATION_PICTURES,
    )  # fmt: skip
    openvino.save_model(small, target)
